# SPDX-License-Identifier: BSD-3-Clause
"""Packets that RFC 1812 and RFC 8200 forbid to forward are not forwarded, and are counted under the reason's name.
Packets that must be forwarded through the slow path are forwarded."""

import unittest

from scapy.layers.inet import ICMP, IP, UDP, Ether, IPOption_NOP, IPOption_RR
from scapy.layers.inet6 import ICMPv6TimeExceeded, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop, PadN, RouterAlert

from lab import KERNEL, NETWORKS, Lab, wait_for
from traffic import capture, ping

LAN, WAN = NETWORKS["lan"], NETWORKS["wan"]
COUNT = 25
MARK = b"halfpoll-test"


def link(dst=LAN.router_mac, **fields):
    return Ether(src=LAN.host_mac, dst=dst, **fields)


def ip4(**fields):
    return IP(**{"src": LAN.host4, "dst": WAN.host4, **fields}) / UDP(sport=9, dport=9) / MARK


def ip6(**fields):
    return IPv6(**{"src": LAN.host6, "dst": WAN.host6, **fields}) / UDP(sport=9, dport=9) / MARK


def bad_checksum():
    packet = IP(bytes(ip4()))
    packet.chksum ^= 0x0100
    return packet


class Checks(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab(("lan", "wan"))
        cls.client, cls.server, cls.router = cls.lab.client, cls.lab.server, cls.lab.router
        # With a default route, no packet is dropped for lack of a route.
        cls.router.ip("route", "add", "default", "via", WAN.host4)
        cls.router.ip("-6", "route", "add", "default", "via", WAN.host6)
        ping(cls.client, WAN.host4)
        ping(cls.client, WAN.host6)

    @classmethod
    def tearDownClass(cls):
        cls.lab.stop()

    def pass_on(self, frame):
        """Sends COUNT copies of a frame from the client; returns the copies that arrive at the server."""
        last = link() / IP(src=LAN.host4, dst=WAN.host4) / UDP(sport=9, dport=9) / b"halfpoll-last"
        with self.server.packets() as there, self.client.packets() as here:
            for _ in range(COUNT):
                here.send(bytes(frame))
            ping(self.client, LAN.router4)  # through the slow path, after the copies that went there
            here.send(bytes(last))
            return capture(there, lambda f: MARK in f, lambda f: b"halfpoll-last" in f)

    def dropped(self, reason, frame):
        """Checks that no copy arrives and that halfpoll counts each under `reason`. `reason` None: the kernel drops
        them."""
        before = None if KERNEL else self.lab.drops()
        self.assertEqual(self.pass_on(frame), [])
        if before is not None and reason:
            wait_for(f"{COUNT} more drops under {reason}: before {before}",
                     lambda: self.lab.drops()[reason] - before[reason] == COUNT, 3)
            self.assertGreaterEqual(self.lab.interface("lan")["dropped"].get(reason, 0), COUNT)

    def forwarded(self, punt, frame):
        """Checks that all copies arrive; those of class `punt` pass through the kernel."""
        before = None if KERNEL else self.lab.punts()
        got = self.pass_on(frame)
        self.assertEqual(len(got), COUNT)
        if before is not None and punt:
            wait_for(f"{COUNT} more punts under {punt}", lambda: self.lab.punts()[punt] - before[punt] >= COUNT, 3)
        return [Ether(f) for f in got]

    def test_the_method_finds_what_is_forwarded(self):
        self.forwarded(None, link() / ip4())
        self.forwarded(None, link() / ip6())

    def test_ipv4_bad_checksum(self):
        self.dropped("IP_CSUM", link() / bad_checksum())

    def test_ipv4_version(self):
        self.dropped("IP_VERSION", link(type=0x0800) / ip4(version=5))

    def test_ipv4_header_length_below_five_words(self):
        self.dropped("IP_VERSION", link() / ip4(ihl=4))

    def test_ipv4_header_longer_than_the_frame(self):
        frame = link(type=0x0800) / (bytes(IP(src=LAN.host4, dst=WAN.host4, ihl=15, len=60, proto=17))[:20] + MARK)
        self.dropped("IP_LENGTH", frame)

    def test_ipv4_total_length_shorter_than_header(self):
        self.dropped("IP_LENGTH", link() / ip4(len=19))

    def test_ipv4_total_length_longer_than_the_frame(self):
        self.dropped("IP_LENGTH", link() / ip4(len=20 + 8 + len(MARK) + 1))

    def test_ipv4_frame_shorter_than_a_header(self):
        before = None if KERNEL else self.lab.drops()
        with self.client.packets() as here:
            for length in range(20):
                here.send(bytes(link())[:12] + b"\x08\x00" + bytes(ip4())[:length])
        if before is not None:
            wait_for("20 short frames", lambda: self.lab.drops()["FRAME_SHORT"] - before["FRAME_SHORT"] == 20, 3)
        ping(self.client, WAN.host4)

    def test_trailing_bytes_are_no_part_of_the_packet(self):
        """A frame may be longer than its packet (Ethernet's minimum): it is forwarded without the bytes behind the
        packet."""
        for packet in (ip4(), ip4(options=[IPOption_NOP()] * 4), ip6()):
            for trailer in (b"\xee", bytes(18), b"\xee" * 1000):
                frame = bytes(link() / packet) + trailer
                for got in self.forwarded(None, frame):
                    self.assertEqual(len(got), len(frame) - len(trailer))

    def test_ipv4_martian_sources(self):
        for source in ("127.0.0.1", "127.255.255.254", "224.0.0.1", "239.1.1.1", "255.255.255.255", "0.0.0.0"):
            with self.subTest(source):
                self.dropped("IP_SRC", link() / ip4(src=source))

    def test_ipv4_martian_destinations(self):
        for destination in ("127.0.0.1", "127.1.2.3", "0.0.0.0"):
            with self.subTest(destination):
                self.dropped("IP_DST", link() / ip4(dst=destination))

    def test_ipv4_broadcast_and_multicast_destinations(self):
        for destination in ("255.255.255.255", "10.77.2.255", "224.0.0.5", "239.1.2.3"):
            with self.subTest(destination):
                self.dropped(None, link() / ip4(dst=destination))

    def test_link_level_broadcast_and_multicast(self):
        """A unicast packet in a broadcast or multicast frame is not forwarded (RFC 1812 5.3.4)."""
        for mac in ("ff:ff:ff:ff:ff:ff", "01:00:5e:01:02:03", "33:33:00:00:00:01"):
            with self.subTest(mac):
                self.dropped(None, link(mac) / ip4())
                self.dropped(None, link(mac) / ip6())

    def test_frames_for_another_link_address(self):
        self.dropped("OTHERHOST", link("02:00:00:00:00:99") / ip4())
        self.dropped("OTHERHOST", link("02:00:00:00:00:99") / ip6())

    def test_unknown_ethertype_and_vlan(self):
        self.dropped(None, link(type=0x88b5) / MARK)
        self.dropped(None, link(type=0x8100) / (b"\x00\x07\x08\x00" + bytes(ip4())))

    def test_ipv4_ttl_expires(self):
        self.expires(IP, link() / ip4(ttl=1), lambda p: ICMP in p and p[ICMP].type == 11 and p[IP].src == LAN.router4)
        self.expires(IP, link() / ip4(ttl=0), None)

    def test_ipv6_hop_limit_expires(self):
        self.expires(IPv6, link() / ip6(hlim=1), lambda p: ICMPv6TimeExceeded in p and p[IPv6].src == LAN.router6)
        self.expires(IPv6, link() / ip6(hlim=0), None)

    def expires(self, family, frame, told):
        """Checks that no copy is forwarded; if `told` is given, the sender gets an error for each, for which told() is
        true."""
        with self.client.packets() as errors:
            self.assertEqual(self.pass_on(frame), [])
            if told:
                with self.client.packets() as here:
                    here.send(bytes(link() / IP(src=LAN.host4, dst=LAN.router4) / ICMP(id=4711) / b"halfpoll-last"))
                got = capture(errors, lambda f: MARK in f and family in Ether(f) and told(Ether(f)),
                              lambda f: b"halfpoll-last" in f and ICMP in Ether(f) and Ether(f)[ICMP].type == 0)
                self.assertEqual(len(got), COUNT)

    def test_ipv4_options_pass_by_way_of_the_kernel(self):
        for frame in self.forwarded("options", link() / ip4(options=[IPOption_NOP()] * 4)):
            self.assertEqual(frame[IP].ttl, 63)
        for frame in self.forwarded("options", link() / ip4(options=[IPOption_RR(length=7, pointer=4, routers=["0.0.0.0"])])):
            self.assertEqual(frame[IP].options[0].routers, [WAN.router4])

    def test_ipv6_hop_by_hop_passes_by_way_of_the_kernel(self):
        for option in (PadN(optdata=b"\0\0\0\0"), RouterAlert()):
            packet = IPv6(src=LAN.host6, dst=WAN.host6) / IPv6ExtHdrHopByHop(options=[option]) / UDP(sport=9, dport=9) / MARK
            for frame in self.forwarded("options", link() / packet):
                self.assertEqual(frame[IPv6].hlim, 63)

    def test_ipv6_other_extension_headers_are_not_looked_at(self):
        packet = (IPv6(src=LAN.host6, dst=WAN.host6) / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0\0\0\0")])
                  / UDP(sport=9, dport=9) / MARK)
        self.forwarded(None, link() / packet)

    def test_ipv6_version(self):
        self.dropped("IP_VERSION", link(type=0x86dd) / ip6(version=4))

    def test_ipv6_payload_longer_than_the_frame(self):
        self.dropped("IP_LENGTH", link() / ip6(plen=8 + len(MARK) + 1))

    def test_ipv6_frame_shorter_than_a_header(self):
        before = None if KERNEL else self.lab.drops()
        with self.client.packets() as here:
            for length in range(40):
                here.send(bytes(link())[:12] + b"\x86\xdd" + bytes(ip6())[:length])
        if before is not None:
            wait_for("40 short frames", lambda: self.lab.drops()["FRAME_SHORT"] - before["FRAME_SHORT"] == 40, 3)
        ping(self.client, WAN.host6)

    def test_ipv6_martian_sources(self):
        for source in ("::1", "ff02::1", "ff0e::1"):
            with self.subTest(source):
                self.dropped("IP_SRC", link() / ip6(src=source))

    def test_ipv6_martian_destinations(self):
        with self.subTest("::1"):
            self.dropped("IP_DST", link() / ip6(dst="::1"))

    def test_ipv6_multicast_destinations(self):
        for destination in ("ff02::1", "ff0e::1", "ff05::1:3"):
            with self.subTest(destination):
                self.dropped(None, link() / ip6(dst=destination))

    def test_ipv6_link_local_stays_on_the_link(self):
        """RFC 4291 2.5.6: packets with a link-local source or destination are not forwarded."""
        for fields in ({"src": "fe80::77"}, {"dst": "fe80::77"}):
            with self.subTest(fields):
                self.dropped(None, link() / ip6(**fields))
