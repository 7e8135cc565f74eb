# SPDX-License-Identifier: BSD-3-Clause
"""The link: ARP (RFC 826, 1812 3.3.2, 5227), neighbour discovery (RFC 4861, 4862) and VLAN tags (802.1Q, if the kernel
has them)."""

import socket
import struct

from scapy.layers.inet import Ether
from scapy.layers.inet6 import (ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6ND_RS, ICMPv6NDOptDstLLAddr, ICMPv6NDOptSrcLLAddr, IPv6)
from scapy.layers.l2 import ARP

from engine import case, internet_sum, link_of, pseudo6, rows
from network import NETS

LAN = NETS["lan"]
BROADCAST = "ff:ff:ff:ff:ff:ff"
LAN6 = socket.inet_pton(socket.AF_INET6, LAN.router6)
SOLICITED = "ff02::1:ff00:1"  # the solicited-node address of LAN.router6


def raw_mac(text):
    return bytes.fromhex(text.replace(":", ""))


def arp(c, mac=BROADCAST, ethertype=None, sender=None, **fields):
    """Sends an ARP request from an address of its own, by which the answer is recognised."""
    own = sender or f"10.77.1.{100 + c.number % 100}"
    packet = ARP(**{"op": 1, "hwsrc": LAN.host_mac, "psrc": own, "hwdst": "00:00:00:00:00:00", "pdst": LAN.router4, **fields})
    c.claim(lambda port, f: f[12:14] == b"\x08\x06" and f[20:22] == b"\0\x02" and f[38:42] == socket.inet_aton(own)
            and f[28:32] == socket.inet_aton(fields.get("pdst", LAN.router4)) and f[22:28] != raw_mac(LAN.host_mac))
    c.send(bytes(Ether(dst=mac, src=LAN.host_mac, type=ethertype or 0x0806) / packet), frame=True)
    return own


def arp_reply(own, address=LAN.router4):
    expected = (link_of("lan", 0x0806) + b"\0\x01\x08\0\x06\x04\0\x02" + raw_mac(LAN.router_mac) + socket.inet_aton(address)
                + raw_mac(LAN.host_mac) + socket.inet_aton(own))
    return lambda frame: None if frame[:42] == expected else "another content"


@rows("arp.request-{}", "RFC 826", (("broadcast", BROADCAST), ("unicast", LAN.router_mac)))
def arp_answered(c, _, mac):
    c.want("lan", "an ARP reply", arp_reply(arp(c, mac)))


@rows("arp.probe-{}", "RFC 5227 2.1", (("for-our-address", LAN.router4, True), ("for-a-free-address", "10.77.1.240", False)))
def arp_probe(c, _, address, answered):
    own = arp(c, sender="0.0.0.0", pdst=address)
    if answered:
        c.want("lan", "an ARP reply", arp_reply(own, address))


@rows("arp.no-answer-{}", "RFC 826", (
    ("for-a-host-on-the-link", {"pdst": "10.77.1.241"}), ("to-another-hardware-type", {"hwtype": 6}),
    ("to-another-protocol", {"ptype": 0x0806}), ("to-a-reply", {"op": 2}), ("to-op-zero", {"op": 0}),
    ("to-wrong-address-length", {"hwlen": 4}), ("from-multicast-sender", {"psrc": "224.0.0.7"}), ("for-loopback", {"pdst": "127.0.0.1"})))
def arp_silent(c, _, fields):
    fields = dict(fields)
    arp(c, sender=fields.get("psrc"), **fields)


@case("arp.no-answer-to-another-station", "RFC 826")
def arp_other(c):
    arp(c, "02:77:00:00:01:99")


@case("arp.truncated", "RFC 826")
def arp_short(c):
    own = f"10.77.1.{100 + c.number % 100}"
    frame = bytes(Ether(dst=BROADCAST, src=LAN.host_mac) / ARP(op=1, hwsrc=LAN.host_mac, psrc=own, pdst=LAN.router4))
    c.claim(lambda port, f: f[12:14] == b"\x08\x06" and f[38:42] == socket.inet_aton(own) and f[22:28] != raw_mac(LAN.host_mac))
    c.send(frame[:38], frame=True)


# ---- neighbour discovery ----

def solicit(c, dst=SOLICITED, target=LAN.router6, source=None, mac=None, hlim=255, option=True, checksum=None, port="lan"):
    """Sends a neighbour solicitation from an address of its own. With source "::" the answers go to all nodes: only the
    target tells them apart."""
    net = NETS[port]
    own = source or f"fd77:1::1:{c.number:x}"
    message = ICMPv6ND_NS(tgt=target)
    if checksum is not None:
        message.cksum = checksum
    packet = IPv6(src=own, dst=dst, hlim=hlim) / message
    if option:
        packet /= ICMPv6NDOptSrcLLAddr(lladdr=net.host_mac)
    raw = socket.inet_pton(socket.AF_INET6, own)
    to = socket.inet_pton(socket.AF_INET6, "ff02::1") if source == "::" else raw
    wanted = socket.inet_pton(socket.AF_INET6, target)
    c.claim(lambda port, f: f[12:14] == b"\x86\xdd" and f[20] == 58 and f[54] == 136 and f[38:54] == to and f[62:78] == wanted)
    c.send(bytes(Ether(dst=mac or multicast_mac(dst) or net.router_mac, src=net.host_mac) / packet), port, frame=True)


def multicast_mac(address):
    raw = socket.inet_pton(socket.AF_INET6, address)
    return "33:33:" + ":".join(f"{b:02x}" for b in raw[12:]) if raw[0] == 0xff else None


def advertisement(flags, lladdr=True):
    def mismatch(frame):
        ip, message = frame[14:], frame[54:14 + 40 + int.from_bytes(frame[18:20], "big")]
        if ip[7] != 255 or internet_sum(pseudo6(ip[8:24], ip[24:40], len(message), 58) + message) != 0xffff:
            return "hop limit or checksum"
        if message[4] & 0xe0 != flags:
            return f"flags {message[4]:#04x}"
        return None if not lladdr or message[24:32] == b"\x02\x01" + raw_mac(LAN.router_mac) else "link-layer address option"
    return mismatch


@rows("nd.solicitation-{}", "RFC 4861 7.2.4", (("multicast", SOLICITED, 0xe0, True), ("unicast", LAN.router6, 0xc0, False)))
def nd_answered(c, _, destination, flags, lladdr):
    """Answered with the flags router and solicited. A multicast solicitation also gets the link-layer address and the
    override flag."""
    solicit(c, destination)
    c.want("lan", "an advertisement", advertisement(flags, lladdr))


@case("nd.duplicate-address-detection-of-our-address", "RFC 4862 5.4.3")
def nd_dad(c):
    """Answered to all nodes, without the flag solicited."""
    solicit(c, source="::", option=False)
    c.want("lan", "an advertisement", advertisement(0xa0))


@case("nd.duplicate-address-detection-of-a-free-address", "RFC 4862 5.4.3")
def nd_dad_free(c):
    solicit(c, dst="ff02::1:ff00:241", target="fd77:1::241", source="::", option=False)


@rows("nd.no-answer-{}", "RFC 4861 7.1.1", (
    ("to-hop-limit-254", {"hlim": 254}), ("to-wrong-checksum", {"checksum": 0x1234}), ("for-a-host-on-the-link", {"target": "fd77:1::242"}),
    ("for-a-multicast-target", {"target": "ff02::1"}), ("in-a-frame-for-another", {"mac": "02:77:00:00:01:99", "dst": LAN.router6})))
def nd_silent(c, _, fields):
    solicit(c, **fields)


@case("nd.no-answer-to-unspecified-source-with-option", "RFC 4861 7.1.1")
def nd_unspecified_option(c):
    """Without the option it is a duplicate address detection, and is answered."""
    solicit(c, source="::", option=True, target=NETS["alt"].router6, port="alt")


@case("nd.router-solicitation-is-not-answered", "RFC 4861 6.2.6")
def nd_router_solicitation(c):
    """The kernel sends no router advertisements by itself."""
    c.claim(lambda port, f: f[12:14] == b"\x86\xdd" and f[20] == 58 and f[54] == 134)
    c.send(bytes(Ether(dst="33:33:00:00:00:02", src=LAN.host_mac) / IPv6(src=LAN.host6, dst="ff02::2", hlim=255) / ICMPv6ND_RS()
                 / ICMPv6NDOptSrcLLAddr(lladdr=LAN.host_mac)), frame=True)


@case("nd.advertisement-is-not-answered", "RFC 4861 7.2.5")
def nd_advertisement(c):
    own = f"fd77:1::1:{c.number:x}"
    c.claim(lambda port, f: f[12:14] == b"\x86\xdd" and f[38:54] == socket.inet_pton(socket.AF_INET6, own))
    c.send(bytes(Ether(dst="33:33:00:00:00:01", src=LAN.host_mac) / IPv6(src=own, dst="ff02::1", hlim=255) / ICMPv6ND_NA(tgt=own, R=0)
                 / ICMPv6NDOptDstLLAddr(lladdr=LAN.host_mac)), frame=True)


@case("nd.through-the-router-is-plain-icmp", "RFC 4861 7.1.1")
def nd_forwarded(c):
    """A solicitation to an address beyond the router loses its hop limit of 255 on the way, so no host accepts it."""
    message = bytes(ICMPv6ND_NS(tgt="fd78:1::1"))[4:24] + c.payload()
    base = bytes(IPv6(src=LAN.host6, dst="fd78:1::1", nh=58, plen=4 + len(message), hlim=255))
    sum_ = 0xffff ^ internet_sum(pseudo6(base[8:24], base[24:40], 4 + len(message), 58) + b"\x87\0\0\0" + message)
    c.passes(base + b"\x87\0" + struct.pack("!H", sum_) + message)


# ---- tags ----

@rows("vlan.unknown-{}", "802.1Q", (("vid-7", 0x8100, 7), ("vid-4095", 0x8100, 4095), ("service-tag", 0x88a8, 7)))
def vlan_unknown(c, _, tpid, vid):
    """A packet with a tag that no interface has is not taken for an untagged packet."""
    c.dropped(struct.pack("!HH", vid, 0x0800) + c.ip4(), ethertype=tpid)


@case("vlan.truncated-tag", "802.1Q")
def vlan_short(c):
    c.send(b"\0", ethertype=0x8100)
