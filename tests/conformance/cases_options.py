# SPDX-License-Identifier: BSD-3-Clause
"""IPv4 options and IPv6 extension headers (RFC 791 3.1, 1812 4.2.2 and 5.2.4.1, 2113; RFC 8200 section 4, 2711,
2675)."""

import socket
import struct

from engine import case, hop4, hop6, rows, with_options
from network import ALT_MTU, NETS
from scapy.layers.inet import IP

LAN, WAN = NETS["lan"], NETS["wan"]
LAN4, WAN4 = socket.inet_aton(LAN.router4), socket.inet_aton(WAN.router4)
SPOT = b"\0\0\0\0"


@rows("ip4.option.{}-untouched", "RFC 1812 5.2.4.1, 4.2.2.1", (
    ("nop", b"\x01" * 4), ("end", b"\0\0\0\0"), ("nop-and-end", b"\x01\x01\0\0"), ("forty-bytes-of-nop", b"\x01" * 40),
    ("stream-id", b"\x88\x04\x12\x34"), ("router-alert", b"\x94\x04\0\0"), ("unknown-not-copied", b"\x1e\x04\xab\xcd"),
    ("unknown-copied", b"\x9e\x06\x01\x02\x03\x04"), ("record-route-full", b"\x07\x07\x08\x0a\x01\x02\x03"),
    ("timestamp-of-others", b"\x44\x0c\x05\x03\x0a\x09\x09\x09\0\0\0\0")))
def untouched(c, _, options):
    c.passes(c.ip4(raw_options=options))


@rows("ip4.option.record-route-{}", "RFC 791 3.1, RFC 1812 5.2.4.1", (
    ("first", b"\x07\x0b\x04" + SPOT * 2, b"\x07\x0b\x08" + WAN4 + SPOT),
    ("last", b"\x07\x0b\x08" + b"\x0a\x01\x02\x03" + SPOT, b"\x07\x0b\x0c" + b"\x0a\x01\x02\x03" + WAN4),
    ("after-nop", b"\x01\x07\x07\x04" + SPOT, b"\x01\x07\x07\x08" + WAN4)))
def record_route(c, _, before, after):
    """The router records the address of the interface by which the packet leaves."""
    packet = c.ip4(raw_options=before)
    c.send(packet)
    c.forwarded(packet, edit=lambda raw: replaced(raw, after))


def replaced(raw, options):
    options += b"\0" * (-len(options) % 4)
    return raw[:20] + options + raw[20 + len(options):]


@rows("ip4.option.timestamp-{}", "RFC 791 3.1", (
    ("only", b"\x44\x08\x05\x00" + SPOT, lambda o: o[2] == 9 and o[4:8] != SPOT),
    ("with-address", b"\x44\x0c\x05\x01" + SPOT * 2, lambda o: o[2] == 13 and o[4:8] in (LAN4, WAN4) and o[8:12] != SPOT),
    ("for-us", b"\x44\x0c\x05\x03" + WAN4 + SPOT, lambda o: o[2] == 13 and o[8:12] != SPOT),
    ("overflow-counted", b"\x44\x08\x09\x10" + b"\0\0\0\x05", lambda o: o[3] >> 4 == 2 and o[4:8] == b"\0\0\0\x05")))
def timestamp(c, _, options, good):
    packet = c.ip4(raw_options=options)
    c.send(packet)

    def mismatch(frame):
        ip = frame[14:]
        if ip[:2] != packet[:2] or ip[8] != 63 or ip[20 + len(options):] != packet[20 + len(options):]:
            return "not the packet"
        again = hop4(bytes(ip[:8]) + bytes([64]) + ip[9:])
        return None if good(ip[20:]) and again == ip else f"option {ip[20:20 + len(options)].hex()}, or the checksum"
    c.want("wan", "the packet with the router's time", mismatch)


@rows("ip4.option.{}-refused", "RFC 1812 5.2.4.1, RFC 7126", (
    ("loose-source-route", b"\x83\x07\x04" + socket.inet_aton("10.78.8.1")),
    ("strict-source-route", b"\x89\x07\x04" + socket.inet_aton("10.78.8.1"))))
def source_route_to_us(c, _, options):
    """A source route that names this router: accept_source_route is off."""
    c.dropped(c.ip4(dst=LAN.router4, raw_options=options))


@rows("ip4.option.{}-through", "RFC 7126 4.3", (
    ("loose-source-route", b"\x83\x07\x04" + socket.inet_aton("10.78.8.1")),
    ("strict-source-route", b"\x89\x07\x04" + socket.inet_aton("10.78.8.1"))))
def source_route_through(c, _, options):
    """accept_source_route is off: Linux drops every packet with such an option, whatever its destination."""
    c.dropped(c.ip4(raw_options=options))


@rows("ip4.option.bad-{}", "RFC 1812 4.3.3.5, 5.2.4.1", (
    ("length-zero", b"\x07\0\x04\0", 20), ("length-one", b"\x07\x01\x04\0", 20), ("length-beyond-header", b"\x07\x0b\x04\0", 20),
    ("record-route-pointer-3", b"\x07\x07\x03" + SPOT, 22), ("record-route-no-room-for-one", b"\x07\x06\x04\0\0\0", 22),
    ("timestamp-pointer-4", b"\x44\x08\x04\x00" + SPOT, 22), ("timestamp-count-full", b"\x44\x08\x09\xf0" + SPOT, 23),
    ("last-byte-without-length", b"\x01\x01\x01\x07", None)))
def bad(c, _, options, pointer):
    packet = c.ip4(raw_options=options)
    c.send(packet)
    c.want("lan", "ICMP parameter problem", lambda f: None if f[14] == 0x45 and f[23] == 1 and f[34] == 12 and f[35] == 0
           and (pointer is None or f[38] == pointer) else f"type {f[34]} code {f[35]} pointer {f[38]}")


@case("ip4.option.expired-with-options", "RFC 1812 5.3.1")
def expired(c):
    packet = c.ip4(ttl=1, raw_options=b"\x01" * 4)
    c.send(packet)
    c.error4(packet, 11, 0)


@case("ip4.option.too-big-with-options", "RFC 1191 4")
def too_big(c):
    packet = c.ip4("alt", length=1480, flags=2, raw_options=b"\x01" * 4)
    c.send(packet)
    c.error4(packet, 3, 4, rest=struct.pack("!HH", 0, ALT_MTU))


@case("ip4.option.fragments-copy-what-is-to-be-copied", "RFC 791 3.1")
def fragmented(c):
    """A packet has a router alert (copied) and a record route option (not copied): the first fragment has both, the
    second only the router alert."""
    packet = c.ip4("alt", length=1480, raw_options=b"\x94\x04\0\0\x07\x07\x04" + SPOT)
    c.send(packet)
    c.want("alt", "first fragment", lambda f: None if f[34:38] == b"\x94\x04\0\0" and f[38] == 7 and f[20] & 0x3f == 0x20 and f[21] == 0
           else "options or offset")
    c.want("alt", "second fragment", lambda f: None if f[34:38] == b"\x94\x04\0\0" and f[38] in (0, 1) and f[21] else "options or offset")


@case("ip4.option.blackhole-with-options", "RFC 1812 5.3.6")
def blackholed(c):
    c.dropped(c.ip4(2, raw_options=b"\x01" * 4))


@case("ip4.option.wrong-checksum", "RFC 1812 5.2.2")
def option_checksum(c):
    packet = bytearray(c.ip4(raw_options=b"\x01" * 4))
    packet[20] = 0
    c.dropped(packet)


# ---- IPv6 ----

def options_header(nh, options):
    """Returns a hop-by-hop or destination options header, padded to a multiple of 8 bytes."""
    room = -(2 + len(options)) % 8
    pad = b"" if room == 0 else b"\0" if room == 1 else bytes([1, room - 2]) + bytes(room - 2)
    return bytes([nh, (2 + len(options) + len(pad)) // 8 - 1]) + options + pad


HBH, DSTOPT, ROUTING, FRAGMENT, NONE, UDP = 0, 60, 43, 44, 59, 17


@rows("ip6.hop-by-hop.{}", "RFC 8200 4.3, RFC 2711", (
    ("padn", b"\x01\x04\0\0\0\0"), ("pad1", b"\0\0\0\0\0\0"), ("router-alert", b"\x05\x02\0\0"), ("empty-padn", b"\x01\0"),
    ("unknown-skip", b"\x1e\x02\xab\xcd"), ("unknown-skip-may-change", b"\x3e\x02\xab\xcd"), ("long", b"\x1e\xf0" + bytes(240))))
def hop_by_hop(c, _, options):
    c.passes(c.ip6(nh=HBH, headers=options_header(UDP, options)))


@case("ip6.hop-by-hop.unknown-discard", "RFC 8200 4.2")
def hbh_discard(c):
    c.dropped(c.ip6(nh=HBH, headers=options_header(UDP, b"\x5e\x02\xab\xcd")))


@rows("ip6.hop-by-hop.unknown-{}", "RFC 8200 4.2", (("report", 0x9e), ("report-unicast", 0xde)))
def hbh_report(c, _, kind):
    packet = c.ip6(nh=HBH, headers=options_header(UDP, bytes([kind, 2, 0xab, 0xcd])))
    c.send(packet)
    c.error6(packet, 4, 2, rest=struct.pack("!I", 42))


@case("ip6.hop-by-hop.option-beyond-header", "RFC 8200 4.2")
def hbh_overrun(c):
    c.dropped(c.ip6(nh=HBH, headers=bytes([UDP, 0, 0x1e, 40, 0, 0, 0, 0])))


@case("ip6.hop-by-hop.header-beyond-packet", "RFC 8200 4.3")
def hbh_beyond(c):
    c.dropped(c.ip6(nh=HBH, headers=bytes([UDP, 200, 1, 4, 0, 0, 0, 0])))


@case("ip6.hop-by-hop.expired", "RFC 4443 3.3")
def hbh_expired(c):
    packet = c.ip6(nh=HBH, headers=options_header(UDP, b"\x01\x04\0\0\0\0"), hlim=1)
    c.send(packet)
    c.error6(packet, 3, 0)


@case("ip6.hop-by-hop.too-big", "RFC 4443 3.2")
def hbh_too_big(c):
    packet = c.ip6("alt", length=1480, nh=HBH, headers=options_header(UDP, b"\x01\x04\0\0\0\0"))
    c.send(packet)
    c.error6(packet, 2, 0, rest=struct.pack("!I", ALT_MTU))


@case("ip6.hop-by-hop.jumbo-of-a-short-packet", "RFC 2675 3")
def jumbo_short(c):
    """A jumbo payload option with a length below 65,536: parameter problem at the option's length field."""
    packet = c.ip6(nh=HBH, headers=options_header(UDP, b"\xc2\x04" + struct.pack("!I", 100)))
    c.send(packet)
    c.error6(packet, 4, 0, rest=struct.pack("!I", 44))


@rows("ip6.header.{}-not-looked-at", "RFC 8200 4", (
    ("destination-options", DSTOPT, options_header(UDP, b"\x01\x04\0\0\0\0")),
    ("destination-option-to-report", DSTOPT, options_header(UDP, b"\xde\x02\xab\xcd")),
    ("routing-type-0", ROUTING, bytes([UDP, 2, 0, 1, 0, 0, 0, 0]) + socket.inet_pton(socket.AF_INET6, "fd78:8::1")),
    ("routing-unknown", ROUTING, bytes([UDP, 0, 99, 1, 0, 0, 0, 0])),
    ("hop-by-hop-not-first", DSTOPT, options_header(HBH, b"\x01\x04\0\0\0\0") + options_header(UDP, b"\xde\x02\xab\xcd")),
    ("fragment-first", FRAGMENT, bytes([UDP, 0, 0, 1, 1, 2, 3, 4])),
    ("fragment-middle", FRAGMENT, bytes([UDP, 0, 0x05, 0x01, 1, 2, 3, 4])),
    ("fragment-last", FRAGMENT, bytes([UDP, 0, 0x05, 0x00, 1, 2, 3, 4])),
    ("fragment-atomic", FRAGMENT, bytes([UDP, 0, 0, 0, 1, 2, 3, 4])),
    ("ah", 51, bytes([UDP, 4, 0, 0]) + bytes(20)), ("esp", 50, bytes(16)),
    ("mobility", 135, bytes([NONE, 0, 0, 0, 0, 0, 0, 0])), ("shim6", 140, bytes([NONE, 0, 0, 0, 0, 0, 0, 0])),
    ("experimental", 253, bytes(8)), ("chain-of-four", DSTOPT, options_header(DSTOPT, b"\x01\x04\0\0\0\0") * 3
                                      + options_header(UDP, b"\x01\x04\0\0\0\0"))))
def header(c, _, nh, headers):
    c.passes(c.ip6(nh=nh, headers=headers))


@case("ip6.header.routing-type-0-to-us", "RFC 5095 3")
def rh0_to_us(c):
    """Segments left, and a deprecated type: an error that points to the type, and the packet is not forwarded."""
    route = bytes([UDP, 2, 0, 1, 0, 0, 0, 0]) + socket.inet_pton(socket.AF_INET6, "fd78:8::1")
    packet = c.ip6(dst=LAN.router6, nh=ROUTING, headers=route)
    c.send(packet)
    c.error6(packet, 4, 0, rest=struct.pack("!I", 42))


@case("ip6.header.routing-done-to-us", "RFC 8200 4.4")
def rh_done(c):
    """No segments left: the header is skipped, and the datagram reaches a closed port."""
    route = bytes([UDP, 2, 0, 0, 0, 0, 0, 0]) + socket.inet_pton(socket.AF_INET6, "fd78:8::1")
    packet = c.ip6(dst=LAN.router6, nh=ROUTING, headers=route)
    c.send(packet)
    c.error6(packet, 1, 4)


@case("ip6.header.destination-option-to-report-to-us", "RFC 8200 4.2")
def dst_option_to_us(c):
    packet = c.ip6(dst=LAN.router6, nh=DSTOPT, headers=options_header(UDP, b"\xde\x02\xab\xcd"))
    c.send(packet)
    c.error6(packet, 4, 2, rest=struct.pack("!I", 42))


@case("ip6.header.unknown-next-header-to-us", "RFC 8200 4")
def unknown_to_us(c):
    packet = c.ip6(dst=LAN.router6, nh=253)
    c.send(packet)
    c.error6(packet, 4, 1, rest=struct.pack("!I", 6))
