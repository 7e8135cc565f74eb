# SPDX-License-Identifier: BSD-3-Clause
"""What any router does: ping, address resolution, traceroute, TTL, payloads, TCP."""

import random
import re
import unittest

from scapy.layers.inet import IP, UDP, Ether
from scapy.layers.inet6 import IPv6

from lab import NETWORKS, Lab
from traffic import Sink, Stream, capture, iperf3, ping, transfer, udp_echo

LAN, WAN = NETWORKS["lan"], NETWORKS["wan"]


class Forward(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab(("lan", "wan"))
        cls.client, cls.server, cls.router = cls.lab.client, cls.lab.server, cls.lab.router

    @classmethod
    def tearDownClass(cls):
        cls.lab.stop()

    def test_ping_through_ipv4(self):
        self.assertIn("ttl=63", ping(self.client, WAN.host4, count=5))

    def test_ping_through_ipv6(self):
        self.assertIn("ttl=63", ping(self.client, WAN.host6, count=5))

    def test_ping_the_box_near_and_far_address(self):
        for address in (LAN.router4, WAN.router4, LAN.router6, WAN.router6):
            self.assertIn("ttl=64", ping(self.client, address, count=2))

    def test_ping_from_the_box(self):
        for address in (LAN.host4, WAN.host4, LAN.host6, WAN.host6):
            ping(self.router, address, count=2)

    def test_ping_large_and_flood(self):
        ping(self.client, WAN.host4, "-s", 1472, "-M", "do", count=200, interval=0.002, deadline=10)
        ping(self.client, WAN.host6, "-s", 1452, "-M", "do", count=200, interval=0.002, deadline=10)

    def test_resolution_from_cold(self):
        """The very first packet is answered: it waits for ARP or neighbour discovery on every hop."""
        for _ in range(5):
            for host, dev in ((self.client, "eth0"), (self.server, "eth0"), (self.router, "lan0"), (self.router, "wan0")):
                host.ip("neigh", "flush", "dev", dev)
                host.ip("-6", "neigh", "flush", "dev", dev)
            ping(self.client, WAN.host4, count=1)
            ping(self.client, WAN.host6, count=1)

    def test_traceroute(self):
        for version, router, server in (("-4", LAN.router4, WAN.host4), ("-6", LAN.router6, WAN.host6)):
            out = self.client.run("traceroute", version, "-n", "-q", 1, "-w", 2, server).stdout
            hops = re.findall(r"^ *\d+ +(\S+) ", out, re.MULTILINE)
            self.assertEqual(hops, [router, server], out)

    def test_traceroute_with_tcp_and_icmp(self):
        for probe in ("-I", "-T"):
            for version, router, server in (("-4", LAN.router4, WAN.host4), ("-6", LAN.router6, WAN.host6)):
                out = self.client.run("traceroute", version, probe, "-n", "-q", 1, "-w", 2, server).stdout
                self.assertEqual(re.findall(r"^ *\d+ +(\S+) ", out, re.MULTILINE), [router, server], out)

    def forwarded(self, frames, sentinel):
        """Sends frames from the client; returns those that reach the server before `sentinel`."""
        ping(self.client, WAN.host4)
        ping(self.client, WAN.host6)
        with self.server.packets() as there, self.client.packets() as here:
            for i, frame in enumerate([*frames, sentinel]):
                here.send(frame)
                if i % 64 == 63:
                    ping(self.client, LAN.host4)  # limits the frames in flight to the length of every queue
            return capture(there, lambda f: b"halfpoll-test" in f, lambda f: b"halfpoll-last" in f)

    def test_ttl_and_checksum_ipv4(self):
        """The TTL decreases by exactly one, the checksum is right for every value that it can have, and nothing else
        changes."""
        rng = random.Random(1)
        link = Ether(src=LAN.host_mac, dst=LAN.router_mac)
        sent = [bytes(link / IP(src=LAN.host4, dst=WAN.host4, ttl=rng.choice((2, 3, 64, 128, 255)), id=i, tos=rng.randrange(256),
                                flags=rng.choice(("DF", 0)))
                      / UDP(sport=1000 + i, dport=9) / (b"halfpoll-test" + rng.randbytes(rng.randrange(60))))
                for i in range(1000)]
        # Header sums at the edges of ones' complement arithmetic.
        for wanted in (0x0000, 0x0001, 0x00ff, 0x0100, 0xfeff, 0xff00, 0xfffe):
            sent.append(bytes(link / self.with_checksum(wanted) / UDP(sport=9, dport=9) / b"halfpoll-test-edge"))
        last = bytes(link / IP(src=LAN.host4, dst=WAN.host4) / UDP(sport=9, dport=9) / b"halfpoll-last")
        got = self.forwarded(sent, last)
        self.assertEqual(len(got), len(sent))
        for before, after in zip(sent, got):
            before, after = Ether(before), Ether(after)
            self.assertEqual((after.src, after.dst), (WAN.router_mac, WAN.host_mac))
            self.assertEqual(after[IP].ttl, before[IP].ttl - 1)
            sum_ = after[IP].chksum
            expected = before[IP].copy()
            expected.ttl -= 1
            del expected.chksum
            self.assertEqual(bytes(after[IP])[:before[IP].len], bytes(expected), f"checksum {sum_:#x}")

    @staticmethod
    def with_checksum(wanted):
        """Returns an IPv4 header whose id is chosen so that its checksum is `wanted`."""
        header = IP(src=LAN.host4, dst=WAN.host4, ttl=64, proto=17, len=20 + 8 + len(b"halfpoll-test-edge"), id=0)
        sum_ = 0xffff ^ IP(bytes(header)).chksum
        header.id = ((0xffff ^ wanted) - sum_) % 0xffff
        assert IP(bytes(header)).chksum == wanted
        return header

    def test_hop_limit_ipv6(self):
        link = Ether(src=LAN.host_mac, dst=LAN.router_mac)
        sent = [bytes(link / IPv6(src=LAN.host6, dst=WAN.host6, hlim=h, tc=h & 0xff, fl=h * 1000)
                      / UDP(sport=9, dport=9) / (b"halfpoll-test" + bytes(h))) for h in range(2, 256)]
        last = bytes(link / IPv6(src=LAN.host6, dst=WAN.host6) / UDP(sport=9, dport=9) / b"halfpoll-last")
        got = self.forwarded(sent, last)
        self.assertEqual(len(got), len(sent))
        for before, after in zip(sent, got):
            before, after = Ether(before), Ether(after)
            self.assertEqual((after.src, after.dst), (WAN.router_mac, WAN.host_mac))
            expected = before[IPv6].copy()
            expected.hlim -= 1
            self.assertEqual(bytes(after[IPv6]), bytes(expected))

    def test_udp_payload_of_every_length(self):
        for source, address, longest in ((LAN.host4, WAN.host4, 1472), (LAN.host6, WAN.host6, 1452)):
            with udp_echo(self.server, address), self.client.udp(source) as s:
                for length in range(1, longest + 1):
                    data = random.randbytes(length)
                    s.sendto(data, (address, 7000))
                    self.assertEqual(s.recv(65536), data)

    def test_tcp_both_ways_ipv4(self):
        """Hosts keep their default offloads: they leave TCP checksums to the device."""
        transfer(self.client, self.server, WAN.host4, 32 << 20)
        transfer(self.server, self.client, LAN.host4, 32 << 20)

    def test_tcp_both_ways_ipv6(self):
        transfer(self.client, self.server, WAN.host6, 32 << 20)
        transfer(self.server, self.client, LAN.host6, 32 << 20)

    def test_tcp_to_and_from_the_box(self):
        transfer(self.client, self.router, LAN.router4, 2 << 20)
        transfer(self.router, self.client, LAN.host6, 2 << 20)

    def test_iperf3(self):
        self.assertGreater(iperf3(self.client, self.server, WAN.host4), 0)
        self.assertGreater(iperf3(self.client, self.server, WAN.host6, "-R", "-P", 4), 0)
        self.assertGreater(iperf3(self.client, self.server, WAN.host4, "-u", "-b", "20M"), 0)

    def test_many_flows_at_once(self):
        """TCP flows in both directions at once, while a datagram stream passes."""
        with Sink(self.server, WAN.host4, 7100) as sink:
            with Stream(self.client, LAN.host4, (WAN.host4, 7100), 500) as stream:
                self.assertGreater(iperf3(self.client, self.server, WAN.host4, "--bidir", "-P", 2), 0)
            ping(self.client, WAN.host4)
        self.assertGreater(len(sink.got), 0)
        self.assertLessEqual(len(sink.got), stream.sent)
        self.assertEqual(sink.got, sorted(set(sink.got)), "in order, none twice")
