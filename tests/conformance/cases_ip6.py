# SPDX-License-Identifier: BSD-3-Clause
"""IPv6 forwarding (RFC 8200, 4291, 2474, 3168)."""

import socket

from scapy.layers.inet import TCP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.packet import Raw

from engine import case, rows
from network import BEYOND_LAN, BLACKHOLE, LAN_GATEWAY6, NETS

LAN, WAN = NETS["lan"], NETS["wan"]


def patched(packet, changes):
    raw = bytearray(packet)
    for offset, value in changes.items():
        raw[offset] = value
    return bytes(raw)


@rows("ip6.hop-limit.{}-goes-down-by-one", "RFC 8200 3", (2, 3, 64, 128, 255))
def hop_limit(c, value):
    c.passes(c.ip6(hlim=value))


@rows("ip6.version.{}", "RFC 8200 3", (0, 4, 5, 7, 15))
def version(c, value):
    packet = c.ip6()
    c.dropped(patched(packet, {0: value << 4 | packet[0] & 15}), ethertype=0x86dd)


@case("ip6.payload-length.beyond-the-frame", "RFC 8200 3")
def payload_beyond(c):
    packet = c.ip6()
    c.dropped(patched(packet, {4: (len(packet) - 39) >> 8, 5: (len(packet) - 39) & 0xff}))


@case("ip6.payload-length.shorter-than-the-frame", "RFC 8200 3")
def payload_short(c):
    packet = c.ip6()
    c.send(packet + b"\xee" * 30)
    c.forwarded(packet)


@case("ip6.payload-length.shorter-behind-options", "RFC 8200 3")
def payload_short_options(c):
    packet = c.ip6(headers=bytes((17, 0, 1, 4, 0, 0, 0, 0)), nh=0)
    c.send(packet + b"\xee" * 300)
    c.forwarded(packet)


@case("ip6.payload-length.zero", "RFC 8200 4.7")
def no_payload(c):
    packet = bytes(IPv6(src=LAN.host6, dst="fd78:1::77", nh=59, plen=0))
    c.claim(lambda _, f: f[12:14] == b"\x86\xdd" and f[38:54] == socket.inet_pton(socket.AF_INET6, "fd78:1::77"))
    c.passes(packet)


@rows("ip6.length.{}", "RFC 8200 5", (48 + 8, 1280, 1281, 1499, 1500))
def length(c, size):
    c.passes(c.ip6(length=size))


@case("ip6.frame.every-short-length", "RFC 8200 3")
def short_frames(c):
    packet = c.ip6()
    for n in range(40):
        c.send(packet[:n], ethertype=0x86dd)


@rows("ip6.next-header.{}", "RFC 8200 4", (
    ("tcp", 6), ("ip4-in-ip6", 4), ("ip6-in-ip6", 41), ("gre", 47), ("ospf-unicast", 89), ("sctp", 132), ("udplite", 136),
    ("reserved", 255)))
def next_header(c, _, number):
    c.passes(c.ip6(nh=number))


@case("ip6.next-header.echo-through", "RFC 4443 4.1")
def echo_through(c):
    c.passes(IPv6(src=LAN.host6, dst="fd78:1::1") / ICMPv6EchoRequest(id=c.number) / Raw(c.payload()))


@case("ip6.next-header.echo-with-wrong-checksum-passes", "RFC 8200 8.1")
def echo_checksum(c):
    packet = bytes(IPv6(src=LAN.host6, dst="fd78:1::1") / ICMPv6EchoRequest(id=c.number, cksum=0xdead) / Raw(c.payload()))
    c.passes(packet)


@case("ip6.next-header.tcp-syn", "RFC 8200 4")
def tcp(c):
    c.passes(IPv6(src=LAN.host6, dst="fd78:1::1") / TCP(sport=c.number + 1024, dport=80, flags="S") / Raw(c.payload()))


@rows("ip6.traffic-class.{}-untouched", "RFC 2474 3, RFC 3168 5", (
    ("ect1", 0x01), ("ect0", 0x02), ("ce", 0x03), ("af11-ce", 0x2b), ("ef", 0xb8), ("cs6", 0xc0), ("cs7-ect0", 0xe2),
    ("all-ones", 0xff)))
def traffic_class(c, _, value):
    c.passes(c.ip6(tc=value))


@rows("ip6.flow-label.{:#07x}-untouched", "RFC 6437 2", (0x00001, 0x12345, 0xfffff))
def flow_label(c, value):
    c.passes(c.ip6(fl=value))


@rows("ip6.source.{}", "RFC 4291 2.5, 2.7", (
    ("loopback", "::1"), ("unspecified", "::"), ("link-multicast", "ff02::1"), ("global-multicast", "ff0e::1")))
def bad_source(c, _, address):
    c.dropped(c.ip6(src=address))


@rows("ip6.source.{}-passes", "RFC 4291 2.5", (
    ("from-another-net", "2001:db8::7"), ("former-site-local", "fec0::7"), ("6to4", "2002:a4d:102::1"),
    ("mapped-ipv4", "::ffff:10.77.1.2")))
def odd_source(c, _, address):
    c.passes(c.ip6(src=address))


@rows("ip6.destination.{}", "RFC 4291 2.5, 2.7", (
    ("loopback", "::1"), ("link-multicast", "ff02::77"), ("interface-local-multicast", "ff01::1"), ("site-multicast", "ff05::1:3"),
    ("global-multicast", "ff0e::1"), ("reserved-scope-multicast", "ff00::1")))
def bad_destination(c, _, address):
    c.dropped(c.ip6(dst=address))


@case("ip6.destination.link-local-is-not-forwarded", "RFC 4291 2.5.6")
def link_local_destination(c):
    """Not forwarded. The router may report that no host on the sender's own link has the address."""
    c.send(c.ip6(dst="fe80::77:99"))
    c.tolerate(lambda port, f: port == "lan" and f[20] == 58 and f[54] in (1, 137))


@rows("ip6.link-{}", "RFC 8200, RFC 2464", (
    ("broadcast", "ff:ff:ff:ff:ff:ff"), ("multicast", "33:33:00:00:00:77"), ("other-station", "02:77:00:00:01:99")))
def link_address(c, _, mac):
    c.dropped(c.ip6(), mac=mac)


@case("ip6.ethertype.of-ipv4", "RFC 2464 3")
def ethertype(c):
    c.dropped(c.ip6(), ethertype=0x0800)


@rows("ip6.route.to-{}", "RFC 8200", ("wan", "alt", "dmz"))
def routed(c, port):
    c.passes(c.ip6(port), to=port)


@case("ip6.route.blackhole", "RFC 6666")
def blackhole(c):
    c.dropped(c.ip6(BLACKHOLE))


@case("ip6.route.connected-host", "RFC 4861 5.2")
def connected(c):
    packet = c.ip6(dst=WAN.host6, nh=253)
    c.send(packet)
    c.forwarded(packet)
    c.tolerate(lambda port, f: port == "lan" and f[20] == 58)  # the host does not know the protocol, and reports that


@rows("ip6.redirect.{}", "RFC 4861 8.2", (
    ("to-a-router-on-the-link", f"fd78:{BEYOND_LAN}::1", LAN_GATEWAY6, 51),
    ("to-a-host-on-the-link", "fd77:1::60", "fd77:1::60", 52)))
def redirect(c, _, destination, target, source):
    packet = c.ip6(src=f"fd77:1::{source}", dst=destination, nh=253)
    c.send(packet)
    c.forwarded(packet, to="lan")
    wanted = socket.inet_pton(socket.AF_INET6, target) + socket.inet_pton(socket.AF_INET6, destination)

    def mismatch(frame):
        if frame[20] != 58 or frame[54] != 137 or frame[21] != 255:
            return "no redirect with hop limit 255"
        return None if frame[62:94] == wanted and frame[22:24] == b"\xfe\x80" else f"says {frame[62:94].hex()}"
    c.want("lan", "a redirect", mismatch)
    c.tolerate(lambda port, f: port == "lan" and f[20] == 58 and f[54] == 4)  # the host does not know protocol 253
