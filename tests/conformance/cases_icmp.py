# SPDX-License-Identifier: BSD-3-Clause
"""ICMP: the errors that a router owes, their content, packets about which there must be no error, path MTU, and answers
of the box itself (RFC 792, 1122 3.2.2, 1191, 1812 4.3, 4443, 8201)."""

import struct

from scapy.layers.inet import ICMP, IP, UDP, fragment
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.packet import Raw

from engine import case, internet_sum, pseudo6, rows
from network import ALT_MTU, CLIENT_ADDRESSES, LOST, MTU_OF_ROUTE, NETS, PROHIBIT, ROUTE_MTU, THROW, UNREACHABLE

LAN, WAN = NETS["lan"], NETS["wan"]
NOWHERE4, NOWHERE6 = "203.0.113.1", "2001:db8:1::1"


# ---- time exceeded ----

@rows("icmp4.expired.ttl-{}", "RFC 1812 5.3.1, 4.3.3.4", (0, 1))
def expired(c, ttl):
    packet = c.ip4(ttl=ttl)
    c.send(packet)
    c.error4(packet, 11, 0)


@rows("icmp6.expired.hop-limit-{}", "RFC 4443 3.3", (0, 1))
def expired6(c, hlim):
    packet = c.ip6(hlim=hlim)
    c.send(packet)
    c.error6(packet, 3, 0)


@rows("icmp4.expired.{}-bytes", "RFC 1812 4.3.2.3", (29 + 8, 200, 548, 576, 1500))
def expired_quote(c, size):
    """The error quotes as much of the packet as fits into 576 bytes."""
    packet = c.ip4(ttl=1, length=size)
    c.send(packet)
    c.error4(packet, 11, 0)


@rows("icmp6.expired.{}-bytes", "RFC 4443 2.4 c", (64, 1232, 1233, 1280, 1500))
def expired_quote6(c, size):
    """The error quotes as much of the packet as fits into 1280 bytes."""
    packet = c.ip6(hlim=1, length=size)
    c.send(packet)
    c.error6(packet, 3, 0)


@rows("icmp4.expired.protocol-{}", "RFC 1812 5.3.1", (("tcp", 6), ("esp", 50), ("experimental", 253)))
def expired_protocol(c, _, number):
    packet = c.ip4(ttl=1, proto=number)
    c.send(packet)
    c.error4(packet, 11, 0)


@case("icmp4.expired.echo-request", "RFC 1812 4.3.2.7")
def expired_echo(c):
    packet = IP(src=LAN.host4, dst="10.78.1.1", ttl=1) / ICMP(id=c.number) / Raw(c.payload())
    c.send(packet)
    c.error4(packet, 11, 0)


@case("icmp6.expired.echo-request", "RFC 4443 2.4")
def expired_echo6(c):
    packet = IPv6(src=LAN.host6, dst="fd78:1::1", hlim=1) / ICMPv6EchoRequest(id=c.number) / Raw(c.payload())
    c.send(packet)
    c.error6(packet, 3, 0)


@rows("icmp4.expired.tos-{:#04x}", "RFC 1812 4.3.2.5", (0x00, 0x03, 0xb8))
def expired_tos(c, tos):
    packet = c.ip4(ttl=1, tos=tos)
    c.send(packet)
    c.error4(packet, 11, 0)


@rows("icmp4.expired.from-{}", "RFC 1812 4.3.2.4", ("wan", "alt", "dmz"))
def expired_port(c, port):
    """The error comes from the address of the interface on the sender's side."""
    packet = c.ip4("lan", src=NETS[port].host4, ttl=1)
    c.send(packet, port)
    c.error4(packet, 11, 0, port)


@rows("icmp6.expired.from-{}", "RFC 4443 2.2", ("wan", "alt", "dmz"))
def expired_port6(c, port):
    packet = c.ip6("wan" if port != "wan" else "alt", src=NETS[port].host6, hlim=1)
    c.send(packet, port)
    c.error6(packet, 3, 0, port)


@case("icmp4.expired.to-us-is-not-expired", "RFC 1122 3.2.1.7")
def ttl_one_to_us(c):
    packet = bytes(IP(src=LAN.host4, dst=LAN.router4, ttl=1) / ICMP(id=c.number) / Raw(c.payload()))
    c.send(packet)
    c.want("lan", "echo reply", echo_reply4(packet))


@case("icmp6.expired.to-us-is-not-expired", "RFC 8200 3")
def hlim_one_to_us(c):
    packet = bytes(IPv6(src=LAN.host6, dst=LAN.router6, hlim=1) / ICMPv6EchoRequest(id=c.number) / Raw(c.payload()))
    c.send(packet)
    c.want("lan", "echo reply", echo_reply6(packet))


# ---- unreachable ----

@rows("icmp4.unreachable.{}", "RFC 1812 4.3.3.1, 5.2.7.1", (
    ("no-route", NOWHERE4, 0), ("unreachable-route", f"10.78.{UNREACHABLE}.1", 1), ("prohibit-route", f"10.78.{PROHIBIT}.1", 13),
    ("throw-route", f"10.78.{THROW}.1", 0), ("martian-looking-class-a", "1.2.3.4", 0)))
def unreachable(c, _, destination, code):
    packet = c.ip4(dst=destination)
    c.send(packet)
    c.error4(packet, 3, code)


@rows("icmp6.unreachable.{}", "RFC 4443 3.1", (
    ("no-route", NOWHERE6, 0), ("unreachable-route", f"fd78:{UNREACHABLE}::1", 0), ("prohibit-route", f"fd78:{PROHIBIT}::1", 1),
    ("throw-route", f"fd78:{THROW}::1", 0)))
def unreachable6(c, _, destination, code):
    packet = c.ip6(dst=destination)
    c.send(packet)
    c.error6(packet, 1, code)


@rows("icmp4.unreachable.{}", "RFC 1812 3.3.2, 4.3.3.1", (("gateway-does-not-answer-arp", f"10.78.{LOST}.1"),
                                                      ("host-does-not-answer-arp", "10.77.2.98")))
def unresolved(c, _, destination):
    packet = c.ip4(dst=destination)
    c.late = True
    c.send(packet)
    c.error4(packet, 3, 1, ttl_gone=True)


@rows("icmp6.unreachable.{}", "RFC 4861 7.2.2", (("router-does-not-answer", f"fd78:{LOST}::1"), ("host-does-not-answer", "fd77:2::98")))
def unresolved6(c, _, destination):
    packet = c.ip6(dst=destination)
    c.late = True
    c.send(packet)
    c.error6(packet, 1, 3, ttl_gone=True)


@case("icmp4.unreachable.port-of-the-box", "RFC 1122 3.2.2.1")
def port4(c):
    packet = c.ip4(dst=LAN.router4)
    c.send(packet)
    c.error4(packet, 3, 3)


@case("icmp4.unreachable.protocol-of-the-box", "RFC 1122 3.2.2.1")
def protocol4(c):
    packet = c.ip4(dst=LAN.router4, proto=253)
    c.send(packet)
    c.error4(packet, 3, 2)


@case("icmp6.unreachable.port-of-the-box", "RFC 4443 3.1")
def port6(c):
    packet = c.ip6(dst=LAN.router6)
    c.send(packet)
    c.error6(packet, 1, 4)


@case("icmp4.unreachable.port-of-the-far-address", "RFC 1122 3.2.2.1")
def far_port4(c):
    packet = c.ip4(dst=WAN.router4)
    c.send(packet)
    c.error4(packet, 3, 3, source=WAN.router4)


@case("icmp6.unreachable.beyond-scope-of-source", "RFC 4443 3.1")
def scope(c):
    packet = c.ip6(src="fe80::77:3")
    c.send(packet)
    c.want("lan", "ICMPv6 error 1/2", lambda f: None if f[20] == 58 and (f[54], f[55]) == (1, 2) else "another")


# ---- packets about which there must be no error ----

def icmp_error(kind, code, c):
    """Returns an ICMP error in transit, about a packet that the case did not send."""
    return ICMP(type=kind, code=code) / IP(src="10.78.1.1", dst=LAN.host4) / UDP(sport=9, dport=9) / Raw(c.payload())


@rows("icmp4.no-error-about.{}-that-expires", "RFC 1122 3.2.2, RFC 1812 4.3.2.7", (
    ("unreachable", 3, 1), ("source-quench", 4, 0), ("redirect", 5, 1), ("time-exceeded", 11, 0), ("parameter-problem", 12, 0)))
def error_expires(c, _, kind, code):
    c.dropped(IP(src=LAN.host4, dst="10.78.1.1", ttl=1) / icmp_error(kind, code, c))


@rows("icmp4.no-error-about.icmp-error-{}", "RFC 1812 4.3.2.7", (
    ("without-route", NOWHERE4), ("to-unreachable-route", f"10.78.{UNREACHABLE}.1"), ("to-prohibit-route", f"10.78.{PROHIBIT}.1")))
def error_unroutable(c, _, destination):
    c.dropped(IP(src=LAN.host4, dst=destination) / icmp_error(3, 1, c))


@case("icmp4.no-error-about.icmp-error-too-big", "RFC 1812 4.3.2.7")
def error_too_big(c):
    c.dropped(IP(src=LAN.host4, dst="10.78.8.1", flags=2) / ICMP(type=3, code=1) / IP(src="10.78.8.1", dst=LAN.host4)
              / UDP() / Raw(c.payload(1440)))


@rows("icmp4.no-error-about.fragment-at-{}", "RFC 1122 3.2.2, RFC 1812 4.3.2.7", (8, 1480))
def fragment_expires(c, offset):
    c.dropped(IP(src=LAN.host4, dst="10.78.1.1", ttl=1, frag=offset // 8, proto=17) / Raw(c.payload(64)))


@case("icmp4.error-about.first-fragment", "RFC 1122 3.2.2")
def first_fragment_expires(c):
    packet = c.ip4(ttl=1, flags=1)
    c.send(packet)
    c.error4(packet, 11, 0)


@rows("icmp4.no-error-about.source-{}", "RFC 1122 3.2.2, RFC 1812 4.3.2.7", ("0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"))
def error_to_nobody(c, source):
    c.dropped(c.ip4(src=source, ttl=1))


@rows("icmp4.no-error-about.destination-{}", "RFC 1812 4.3.2.7", (
    ("multicast", "224.0.0.77"), ("limited-broadcast", "255.255.255.255"), ("directed-broadcast", "10.77.1.255")))
def error_about_many(c, _, destination):
    c.dropped(c.ip4(dst=destination, ttl=1))


@rows("icmp4.no-error-about.link-{}", "RFC 1812 4.3.2.7", (("broadcast", "ff:ff:ff:ff:ff:ff"), ("multicast", "01:00:5e:00:00:01")))
def error_about_link(c, _, mac):
    c.dropped(c.ip4(ttl=1), mac=mac)
    c.send(c.ip4(dst=NOWHERE4), mac=mac)
    c.send(c.ip4(dst=LAN.router4), mac=mac)


def icmp6(c, source, destination, kind, code, body, **fields):
    """Returns an ICMPv6 message with a correct checksum."""
    base = IPv6(src=source, dst=destination, nh=58, plen=4 + len(body), **fields)
    raw = bytes(base)
    message = bytes([kind, code, 0, 0]) + body
    sum_ = 0xffff ^ internet_sum(pseudo6(raw[8:24], raw[24:40], len(message), 58) + message)
    return raw[:40] + message[:2] + struct.pack("!H", sum_) + body


def icmp6_error(c, kind, destination, size=None, **fields):
    about = bytes(IPv6(src="fd78:1::1", dst=LAN.host6, nh=17) / UDP() / Raw(c.payload(size)))
    return icmp6(c, LAN.host6, destination, kind, 0, b"\0\0\0\0" + about, **fields)


@rows("icmp6.no-error-about.{}-that-expires", "RFC 4443 2.4 e.1", (
    ("unreachable", 1), ("too-big", 2), ("time-exceeded", 3), ("parameter-problem", 4), ("unknown-error", 100)))
def error_expires6(c, _, kind):
    c.dropped(icmp6_error(c, kind, "fd78:1::1", hlim=1))


@case("icmp6.error-about.redirect-that-expires", "RFC 4443 2.4 e.2",
      linux="it does send one, as only types below 128 are errors to it; the RFC asks for none")
def redirect_expires6(c):
    packet = icmp6(c, LAN.host6, "fd78:1::1", 137, 0, bytes(36) + c.payload(), hlim=1)
    c.send(packet)
    c.error6(packet, 3, 0)


@rows("icmp6.no-error-about.icmp-error-{}", "RFC 4443 2.4 e.1", (
    ("without-route", NOWHERE6), ("to-unreachable-route", f"fd78:{UNREACHABLE}::1"), ("to-prohibit-route", f"fd78:{PROHIBIT}::1")))
def error_unroutable6(c, _, destination):
    c.dropped(icmp6_error(c, 1, destination))


@case("icmp6.no-error-about.icmp-error-too-big", "RFC 4443 2.4 e.1")
def error_too_big6(c):
    c.dropped(icmp6_error(c, 1, "fd78:8::1", 1400))


@case("icmp6.error-about.unknown-informational", "RFC 4443 2.4")
def informational_expires6(c):
    packet = icmp6(c, LAN.host6, "fd78:1::1", 200, 0, b"\0\0\0\0" + c.payload(), hlim=1)
    c.send(packet)
    c.error6(packet, 3, 0)


@rows("icmp6.no-error-about.source-{}", "RFC 4443 2.4 e.6", (("unspecified", "::"), ("multicast", "ff02::7")))
def error_to_nobody6(c, _, source):
    c.dropped(c.ip6(src=source, hlim=1))


@rows("icmp6.no-error-about.destination-{}", "RFC 4443 2.4 e.3", (("all-nodes", "ff02::1"), ("global-multicast", "ff0e::77")))
def error_about_many6(c, _, destination):
    c.dropped(c.ip6(dst=destination, hlim=1), mac="33:33:00:00:00:01")


@rows("icmp6.no-error-about.link-{}", "RFC 4443 2.4 e.4", (("broadcast", "ff:ff:ff:ff:ff:ff"), ("multicast", "33:33:00:00:00:01")))
def error_about_link6(c, _, mac):
    c.dropped(c.ip6(hlim=1), mac=mac)
    c.send(c.ip6(dst=NOWHERE6), mac=mac)


# ---- path MTU ----

@rows("pmtu4.{}", "RFC 1191 4, RFC 1812 4.2.2.7", (
    ("interface-exact", "alt", ALT_MTU, "alt"), ("route-exact", ROUTE_MTU, MTU_OF_ROUTE, "wan")))
def fits(c, _, to, size, port):
    packet = c.ip4(to, length=size, flags=2)
    c.send(packet)
    c.forwarded(packet, to=port)


@rows("pmtu4.{}-df", "RFC 1191 4", (
    ("interface-one-over", "alt", ALT_MTU + 1, ALT_MTU), ("interface-full-frame", "alt", 1500, ALT_MTU),
    ("route-one-over", ROUTE_MTU, MTU_OF_ROUTE + 1, MTU_OF_ROUTE), ("route-full-frame", ROUTE_MTU, 1500, MTU_OF_ROUTE)))
def too_big(c, _, to, size, mtu):
    packet = c.ip4(to, length=size, flags=2)
    c.send(packet)
    c.error4(packet, 3, 4, rest=struct.pack("!HH", 0, mtu))


def pieces(c, packet, port, mtu, base=0, more=False):
    """Expects `packet` at a port, cut into fragments of at most `mtu` bytes."""
    header, data, size = packet[:20], packet[20:], (mtu - 20) // 8 * 8
    for at in range(0, len(data), size):
        part, last = data[at:at + size], at + size >= len(data)
        flags = 0 if last and not more else 1
        raw = bytearray(header + part)
        struct.pack_into("!H", raw, 2, len(raw))
        struct.pack_into("!H", raw, 6, flags << 13 | (base + at) // 8)
        c.forwarded(IP(bytes(patch_sum(raw))), to=port)


def patch_sum(raw):
    raw[10:12] = b"\0\0"
    raw[10:12] = struct.pack("!H", 0xffff ^ internet_sum(bytes(raw[:20])))
    return raw


@rows("pmtu4.{}-is-fragmented", "RFC 791 3.2, RFC 1812 4.2.2.7", (
    ("interface-one-over", "alt", ALT_MTU + 1, ALT_MTU, "alt"), ("interface-full-frame", "alt", 1500, ALT_MTU, "alt"),
    ("route-full-frame", ROUTE_MTU, 1500, MTU_OF_ROUTE, "wan")))
def fragmented(c, _, to, size, mtu, port):
    packet = c.ip4(to, length=size)
    c.claim(lambda _, f: f[12:14] == b"\x08\x00" and f[18:20] == packet[4:6])  # the last piece may lack a token
    c.send(packet)
    pieces(c, packet, port, mtu)


@rows("pmtu4.fragment-{}-is-fragmented-again", "RFC 791 3.2", (("with-more", 1, 185), ("the-last", 0, 185)))
def fragmented_again(c, _, flags, offset):
    packet = bytearray(c.ip4("alt", length=1500))
    struct.pack_into("!H", packet, 6, flags << 13 | offset)
    packet = bytes(patch_sum(packet))
    c.send(packet)
    pieces(c, packet, "alt", ALT_MTU, offset * 8, bool(flags))


@rows("pmtu6.{}", "RFC 8200 5", (("interface-exact", "alt", ALT_MTU, "alt"), ("route-exact", ROUTE_MTU, MTU_OF_ROUTE, "wan")))
def fits6(c, _, to, size, port):
    packet = c.ip6(to, length=size)
    c.send(packet)
    c.forwarded(packet, to=port)


@rows("pmtu6.{}", "RFC 4443 3.2, RFC 8201 4", (
    ("interface-one-over", "alt", ALT_MTU + 1, ALT_MTU), ("interface-full-frame", "alt", 1500, ALT_MTU),
    ("route-one-over", ROUTE_MTU, MTU_OF_ROUTE + 1, MTU_OF_ROUTE), ("route-full-frame", ROUTE_MTU, 1500, MTU_OF_ROUTE)))
def too_big6(c, _, to, size, mtu):
    packet = c.ip6(to, length=size)
    c.send(packet)
    # A packet that fits the interface but not the route is found too big at output, with its hop limit decreased.
    c.error6(packet, 2, 0, rest=struct.pack("!I", mtu), ttl_gone=True)


@rows("pmtu6.fragment-is-not-fragmented-{}", "RFC 8200 4.5", (("first", 0x0001), ("middle", 0x0501)))
def fragment_too_big6(c, _, offset):
    packet = c.ip6("alt", length=1480, nh=44, headers=struct.pack("!BBHI", 17, 0, offset, c.number))
    c.send(packet)
    c.error6(packet, 2, 0, rest=struct.pack("!I", ALT_MTU))


# ---- answers of the box ----

def echo_reply4(packet, source=None, tos=None):
    def mismatch(frame):
        ip = frame[14:]
        reply = ip[20:int.from_bytes(ip[2:4], "big")]
        if ip[9] != 1 or reply[0] != 0 or internet_sum(reply) != 0xffff or internet_sum(ip[:20]) != 0xffff:
            return "no sound echo reply"
        if ip[12:16] != packet[16:20] or ip[16:20] != packet[12:16]:
            return "addresses are not swapped"
        return None if reply[4:] == packet[(packet[0] & 15) * 4 + 4:] and (tos is None or ip[1] == tos) else "content, or TOS"
    return mismatch


def echo_reply6(packet, source=None):
    def mismatch(frame):
        ip = frame[14:]
        reply = ip[40:40 + int.from_bytes(ip[4:6], "big")]
        if ip[6] != 58 or reply[0] != 129 or internet_sum(pseudo6(ip[8:24], ip[24:40], len(reply), 58) + reply) != 0xffff:
            return "no sound echo reply"
        if ip[24:40] != packet[8:24] or ip[8:24] != (source or packet[24:40]):
            return f"from {ip[8:24].hex()}"
        return None if reply[4:] == packet[44:] else "content"
    return mismatch


@rows("box4.echo-{}", "RFC 1122 3.2.2.6, RFC 1812 4.3.3.6", (
    ("near-address", LAN.router4, 56, 0), ("far-address", WAN.router4, 56, 0), ("empty", LAN.router4, 8, 0),
    ("full-frame", LAN.router4, 1472, 0), ("with-tos", LAN.router4, 56, 0x48)))
def box_echo(c, _, address, size, tos):
    packet = bytes(IP(src=LAN.host4, dst=address, tos=tos) / ICMP(id=c.number, seq=1) / Raw(c.payload(size)))
    c.send(packet)
    c.want("lan", "echo reply", echo_reply4(packet, tos=tos))


@case("box4.echo-in-fragments", "RFC 1122 3.3.2")
def box_echo_fragments(c):
    """The box reassembles the request and answers in fragments."""
    whole = IP(src=LAN.host4, dst=LAN.router4, id=c.number) / ICMP(id=c.number, seq=1) / Raw(c.payload(2000))
    for piece in fragment(IP(bytes(whole)), fragsize=1000):
        c.send(piece)
    for first in (True, False):
        c.want("lan", "a fragment of the reply", lambda f, first=first: None if f[23] == 1 and (f[20] & 0x1f or f[21] != 0) != first
               else "not that one")


@case("box4.echo-with-wrong-checksum", "RFC 1122 3.2.2")
def box_echo_checksum(c):
    c.dropped(IP(src=LAN.host4, dst=LAN.router4) / ICMP(id=c.number, chksum=0x1234) / Raw(c.payload()))


@rows("box4.echo-to-{}", "RFC 1812 4.3.3.6", (
    ("broadcast", "10.77.1.255", "ff:ff:ff:ff:ff:ff"), ("limited-broadcast", "255.255.255.255", "ff:ff:ff:ff:ff:ff"),
    ("all-systems", "224.0.0.1", "01:00:5e:00:00:01")))
def box_echo_many(c, _, address, mac):
    """Not answered: icmp_echo_ignore_broadcasts is on."""
    c.dropped(IP(src=LAN.host4, dst=address) / ICMP(id=c.number) / Raw(c.payload()), mac=mac)


@case("box4.timestamp-request", "RFC 1812 4.3.3.8")
def box_timestamp(c):
    packet = bytes(IP(src=LAN.host4, dst=LAN.router4) / ICMP(type=13, id=c.number, seq=1, ts_ori=7))
    c.claim(lambda port, f: f[23] == 1 and f[34] == 14 and f[38:40] == struct.pack("!H", c.number))
    c.send(packet)
    c.want("lan", "timestamp reply", lambda f: None if f[42:46] == struct.pack("!I", 7) and internet_sum(f[34:54]) == 0xffff
           else "content")


@rows("box4.{}-is-not-answered", "RFC 6918, RFC 1122 3.2.2", (
    ("information-request", 15), ("address-mask-request", 17), ("router-solicitation", 10), ("unknown-type", 200), ("echo-reply", 0)))
def box_silent(c, _, kind):
    c.dropped(IP(src=LAN.host4, dst=LAN.router4) / ICMP(type=kind, id=c.number) / Raw(c.payload()))


@rows("box6.echo-{}", "RFC 4443 4.1", (
    ("near-address", LAN.router6, 56), ("far-address", WAN.router6, 56), ("empty", LAN.router6, 8), ("full-frame", LAN.router6, 1452)))
def box_echo6(c, _, address, size):
    packet = bytes(IPv6(src=LAN.host6, dst=address) / ICMPv6EchoRequest(id=c.number) / Raw(c.payload(size)))
    c.send(packet)
    c.want("lan", "echo reply", echo_reply6(packet))


@rows("box6.echo-to-{}", "RFC 4443 4.2, RFC 4291 2.6.1", (
    ("all-nodes", "ff02::1", "33:33:00:00:00:01"), ("all-routers", "ff02::2", "33:33:00:00:00:02"),
    ("subnet-router-anycast", "fd77:1::", None)))
def box_echo_many6(c, _, address, mac):
    """Answered from a unicast address."""
    packet = bytes(IPv6(src=LAN.host6, dst=address) / ICMPv6EchoRequest(id=c.number) / Raw(c.payload()))
    c.send(packet, mac=mac)

    def mismatch(frame):
        ip = frame[14:]
        return None if ip[6] == 58 and ip[40] == 129 and ip[8] != 0xff and ip[44:] == packet[44:] else "no reply to it"
    c.want("lan", "echo reply", mismatch)


@case("box6.echo-with-wrong-checksum", "RFC 4443 2.3")
def box_echo_checksum6(c):
    c.dropped(IPv6(src=LAN.host6, dst=LAN.router6) / ICMPv6EchoRequest(id=c.number, cksum=0x1234) / Raw(c.payload()))


@rows("box6.{}-is-not-answered", "RFC 4443 2.4", (("unknown-informational", 200), ("unknown-error", 100), ("echo-reply", 129)))
def box_silent6(c, _, kind):
    c.dropped(icmp6(c, LAN.host6, LAN.router6, kind, 0, b"\0\0\0\0" + c.payload()))
