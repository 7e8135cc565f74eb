# SPDX-License-Identifier: BSD-3-Clause
"""IPv4 forwarding: packets that pass, with which changes, and packets that must not pass (RFC 791, 1812 section 5,
2474, 3168)."""

import struct

from scapy.layers.inet import ICMP, IP, TCP
from scapy.packet import Raw

from engine import case, internet_sum, rows
from network import BEYOND_LAN, BLACKHOLE, CLIENT_ADDRESSES, NETS

LAN, WAN = NETS["lan"], NETS["wan"]

RESERVED = "it forwards class E and most of network 0 since 5.3; RFC 1812 4.2.2.11 and 5.3.7 ask for the drop"


def patched(packet, changes, sum_right=True):
    """Returns a packet with bytes changed, {offset: value}, and with a correct header checksum if `sum_right`."""
    raw = bytearray(packet)
    for offset, value in changes.items():
        raw[offset] = value
    if sum_right:
        header = max(20, (raw[0] & 15) * 4)
        raw[10:12] = b"\0\0"
        raw[10:12] = struct.pack("!H", 0xffff ^ internet_sum(bytes(raw[:header])))
    return bytes(raw)


# ---- TTL and checksum ----

@rows("ip4.ttl.{}-goes-down-by-one", "RFC 1812 5.3.1", (2, 3, 64, 128, 255))
def ttl(c, value):
    c.passes(c.ip4(ttl=value))


@rows("ip4.checksum.{:#06x}-is-updated-right", "RFC 1624", (0x0000, 0x0001, 0x00ff, 0x0100, 0xfeff, 0xff00, 0xfffe))
def checksum_edge(c, wanted):
    packet = c.ip4(id=0)
    sum_ = 0xffff ^ IP(packet).chksum
    number = ((0xffff ^ wanted) - sum_) % 0xffff
    packet = patched(packet, {4: number >> 8, 5: number & 0xff})
    assert IP(packet).chksum == wanted
    c.passes(packet)


@rows("ip4.checksum.wrong-{}", "RFC 1812 5.2.2", (("by-one", 1), ("by-0x100", 0x100), ("all-bits", 0xffff)))
def checksum_wrong(c, _, flip):
    packet = bytearray(c.ip4())
    struct.pack_into("!H", packet, 10, IP(bytes(packet)).chksum ^ flip)
    c.dropped(packet)


@case("ip4.checksum.zero-is-not-none", "RFC 1812 5.2.2")
def checksum_zero(c):
    c.dropped(patched(c.ip4(), {10: 0, 11: 0}, sum_right=False))


@case("ip4.checksum.0xffff-is-zero", "RFC 1071")
def checksum_ones(c):
    """A header whose checksum is 0xffff in place of 0 sums up correctly: it passes, with the checksum of the next
    hop."""
    packet = c.ip4(id=0)
    number = (0xffff - (0xffff ^ IP(packet).chksum)) % 0xffff
    packet = patched(packet, {4: number >> 8, 5: number & 0xff})
    assert IP(packet).chksum == 0
    packet = patched(packet, {10: 0xff, 11: 0xff}, sum_right=False)
    c.send(packet)
    c.want("wan", "it passes with a right checksum", lambda f: None if internet_sum(f[14:34]) == 0xffff and f[22] == 63
           else "TTL or checksum")


# ---- header and lengths ----

@rows("ip4.version.{}", "RFC 1812 5.2.2", (0, 5, 6, 15))
def version(c, value):
    c.dropped(patched(c.ip4(), {0: value << 4 | 5}), ethertype=0x0800)


@rows("ip4.header-length.{}-words", "RFC 1812 5.2.2", (0, 1, 4))
def header_length(c, words):
    c.dropped(patched(c.ip4(), {0: 0x40 | words}), ethertype=0x0800)


@case("ip4.header-length.beyond-the-packet", "RFC 1812 5.2.2")
def header_beyond(c):
    packet = bytearray(c.ip4()[:40])
    packet[0] = 0x4f
    packet[2:4] = b"\0\x28"
    c.dropped(packet)


@rows("ip4.total-length.{}", "RFC 1812 5.2.2", (("shorter-than-header", 19), ("zero", 0), ("one-too-many", None)))
def total_length(c, _, value):
    packet = c.ip4()
    value = len(packet) + 1 if value is None else value
    c.dropped(patched(packet, {2: value >> 8, 3: value & 0xff}))


@case("ip4.total-length.shorter-than-options", "RFC 1812 5.2.2")
def total_within_options(c):
    packet = c.ip4(raw_options=b"\x01" * 8)
    c.dropped(patched(packet, {2: 0, 3: 24}))


@case("ip4.padding.is-not-the-packet", "RFC 894")
def padding(c):
    packet = c.ip4()
    c.send(packet + bytes(46 - len(packet)))
    c.forwarded(packet)


@case("ip4.padding.of-a-long-frame", "RFC 1812 3.3.3")
def trailer(c):
    packet = c.ip4(length=1000)
    c.send(packet + b"\xee" * 400)
    c.forwarded(packet)


@case("ip4.padding.behind-options", "RFC 894")
def padding_behind_options(c):
    packet = c.ip4(raw_options=b"\x01" * 4)
    c.send(packet + bytes(60))
    c.forwarded(packet)


@case("ip4.length.header-only", "RFC 791")
def header_only(c):
    packet = bytes(IP(src=f"10.77.1.{CLIENT_ADDRESSES[0]}", dst="10.78.1.77", id=c.number, proto=253, len=20))
    c.claim(lambda _, f: f[12:14] == b"\x08\x00" and f[30:34] == bytes((10, 78, 1, 77)))
    c.passes(packet)


@rows("ip4.length.{}", "RFC 791", (28 + 8, 576, 1499, 1500))
def length(c, size):
    c.passes(c.ip4(length=size))


# ---- fields that a router ignores ----

@rows("ip4.protocol.{}", "RFC 1812 5.2.1", (
    ("icmp", 1), ("igmp-unicast", 2), ("ipip", 4), ("tcp", 6), ("ip6-in-ip4", 41), ("gre", 47), ("esp", 50), ("ah", 51),
    ("ospf-unicast", 89), ("vrrp-unicast", 112), ("sctp", 132), ("udplite", 136), ("experimental", 253), ("reserved", 255)))
def protocol(c, _, number):
    c.passes(c.ip4(proto=number))


@case("ip4.protocol.echo-through", "RFC 792")
def echo_through(c):
    c.passes(IP(src=LAN.host4, dst="10.78.1.1") / ICMP(id=c.number) / Raw(c.payload()))


@case("ip4.protocol.udp-checksum-wrong-passes", "RFC 1812 5.2")
def udp_checksum(c):
    packet = bytearray(c.ip4())
    packet[26:28] = b"\xde\xad"
    c.passes(packet)


@case("ip4.protocol.tcp-syn-to-closed-net", "RFC 1812 5.2")
def tcp(c):
    c.passes(IP(src=LAN.host4, dst="10.78.1.1") / TCP(sport=c.number + 1024, dport=80, flags="S") / Raw(c.payload()))


@rows("ip4.tos.{}-untouched", "RFC 2474 3, RFC 3168 5", (
    ("ect1", 0x01), ("ect0", 0x02), ("ce", 0x03), ("af11-ce", 0x2b), ("ef", 0xb8), ("cs6", 0xc0), ("cs7-ect0", 0xe2),
    ("all-ones", 0xff)))
def tos(c, _, value):
    c.passes(c.ip4(tos=value))


@case("ip4.sources.from-another-net", "RFC 1812 5.3.8")
def asymmetric(c):
    """Without a reverse path check any unicast source passes."""
    c.passes(c.ip4(src="203.0.113.77"))


# ---- fragments ----

@rows("ip4.fragment.{}", "RFC 791 3.2, RFC 1812 5.3.1", (
    ("first", 1, 0), ("middle", 1, 185), ("last", 0, 370), ("at-the-end-of-all", 0, 8191 - 100), ("df-and-more", 3, 0),
    ("df", 2, 0), ("reserved-bit", 4, 0), ("tiny", 1, 1)))
def a_fragment(c, _, flags, offset):
    c.passes(patched(c.ip4(), {6: flags << 5 | offset >> 8, 7: offset & 0xff}))


# ---- addresses ----

@rows("ip4.martian-source.{}", "RFC 1812 5.3.7", (
    "127.0.0.1", "127.255.255.254", "224.0.0.1", "239.255.255.255", "255.255.255.255"))
def martian_source(c, address):
    c.dropped(c.ip4(src=address))


@rows("ip4.martian-source.{}", "RFC 1812 5.3.7", ("0.1.2.3", "240.0.0.1", "255.255.255.254"), linux=RESERVED)
def reserved_source(c, address):
    c.passes(c.ip4(src=address))


@case("ip4.martian-source.0.0.0.0", "RFC 1812 5.3.7")
def source_zero(c):
    c.dropped(c.ip4(src="0.0.0.0"))


@rows("ip4.martian-destination.{}", "RFC 1812 5.3.7", ("0.0.0.0", "127.0.0.1", "127.1.2.3"))
def martian_destination(c, address):
    c.dropped(c.ip4(dst=address))


@rows("ip4.martian-destination.{}", "RFC 1812 5.3.7", ("0.1.2.3", "240.0.0.1"), linux=RESERVED)
def reserved_destination(c, address):
    c.dropped(c.ip4(dst=address))
    c.tolerate(lambda port, f: port == "lan" and f[34:36] == b"\x03\0")  # there is no route, which may be reported


@rows("ip4.broadcast.{}", "RFC 1812 5.3.5", (
    ("limited", "255.255.255.255"), ("directed-to-wan", "10.77.2.255"), ("of-the-own-link", "10.77.1.255")))
def broadcast(c, _, address):
    c.dropped(c.ip4(dst=address))


@rows("ip4.multicast.{}", "RFC 1812 5.2.1", (
    ("link-local", "224.0.0.5"), ("global", "233.252.0.1"), ("administrative", "239.1.2.3")))
def multicast(c, _, address):
    """Dropped: no multicast routing is configured."""
    c.dropped(c.ip4(dst=address))
    c.sends[-1] = ("lan", bytes.fromhex("01005e000005") + c.sends[-1][1][6:])


@rows("ip4.link-{}", "RFC 1812 5.3.4", (
    ("broadcast", "ff:ff:ff:ff:ff:ff"), ("multicast", "01:00:5e:01:02:03"), ("other-station", "02:77:00:00:01:99")))
def link_address(c, _, mac):
    """A unicast packet in such a frame is not forwarded."""
    c.dropped(c.ip4(), mac=mac)


@rows("ip4.ethertype.{}", "RFC 894", (("of-ipv6", 0x86dd), ("experimental", 0x88b5), ("length-of-802.3", 100), ("loopback", 0x9000)))
def ethertype(c, _, value):
    c.dropped(c.ip4(), ethertype=value)


@case("ip4.frame.every-short-length", "RFC 1812 5.2.2")
def short_frames(c):
    packet = c.ip4()
    for n in range(20):
        c.send(packet[:n], ethertype=0x0800)


# ---- routes ----

@rows("ip4.route.to-{}", "RFC 1812 5.2.4", ("wan", "alt", "dmz"))
def routed(c, port):
    c.passes(c.ip4(port), to=port)


@case("ip4.route.blackhole", "RFC 1812 5.3.6")
def blackhole(c):
    c.dropped(c.ip4(BLACKHOLE))


@case("ip4.route.connected-host", "RFC 1812 5.2.4.2")
def connected(c):
    c.send(c.ip4(dst=WAN.host4, proto=253))
    c.forwarded(c.ip4(dst=WAN.host4, proto=253))
    c.tolerate(lambda port, f: port == "lan" and f[23] == 1)  # the host does not know the protocol, and reports that


@rows("ip4.reverse-path.{}", "RFC 3704, RFC 1812 5.3.8", (
    ("strict-own-net", "alt", "10.77.3.2", True), ("strict-net-behind", "alt", "10.78.8.9", True),
    ("strict-other-net", "alt", "10.77.1.2", False), ("strict-net-behind-another", "alt", "10.78.1.9", False),
    ("strict-no-route", "alt", "203.0.113.5", False), ("loose-own-net", "dmz", "10.77.4.2", True),
    ("loose-other-net", "dmz", "10.77.1.2", True), ("loose-no-route", "dmz", "203.0.113.5", False),
    ("off-no-route", "lan", "203.0.113.5", True)))
def reverse_path(c, _, port, source, passes):
    packet = c.ip4(src=source)
    c.send(packet, port)
    if passes:
        c.forwarded(packet)


@rows("ip4.reverse-path.{}-with-options", "RFC 3704", (("strict", "alt"), ("loose", "dmz")))
def reverse_path_slow(c, _, port):
    c.dropped(c.ip4(src="203.0.113.5", raw_options=b"\x01" * 4), port)


@rows("ip4.reverse-path.{}-gets-no-error", "RFC 3704", (("strict", "alt"), ("loose", "dmz")))
def reverse_path_ttl(c, _, port):
    c.dropped(c.ip4(src="203.0.113.5", ttl=1), port)


@rows("ip4.reverse-path.{}-blackholed-source", "RFC 5635", (("strict", "alt"), ("loose", "dmz")))
def reverse_path_blackhole(c, _, port):
    """Source-based remotely triggered black hole: a blackhole route for the source drops its packets."""
    c.dropped(c.ip4(src=f"10.78.{BLACKHOLE}.5"), port)


# ---- one-arm: a redirect is sent, and the packet is still forwarded ----

@rows("ip4.redirect.{}", "RFC 1812 4.3.3.2, 5.2.7.2", (
    ("to-a-gateway-on-the-link", f"10.78.{BEYOND_LAN}.1", "10.77.1.3", 51),
    ("to-a-host-on-the-link", "10.77.1.3", "10.77.1.3", 52)))
def redirect(c, _, destination, gateway, source):
    packet = c.ip4(src=f"10.77.1.{source}", dst=destination, proto=253)
    c.send(packet)
    c.forwarded(packet, to="lan")
    # The packet was already in transit when the redirect was made: Linux quotes it one hop further.
    c.error4(packet, 5, 1, rest=bytes(map(int, gateway.split("."))), ttl_gone=True)
    c.sampled = c.wants[-1]
    c.tolerate(lambda port, f: port == "lan" and f[23] == 1 and f[34] == 3)


@case("ip4.redirect.not-for-a-source-off-the-link", "RFC 1812 5.2.7.2")
def redirect_not(c):
    packet = c.ip4(src="10.78.1.200", dst=f"10.78.{BEYOND_LAN}.2")
    c.send(packet)
    c.forwarded(packet, to="lan")
