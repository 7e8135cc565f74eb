# SPDX-License-Identifier: BSD-3-Clause
"""Settings of the kernel that change forwarding (docs/following-the-kernel.md, "Settings"). Run with the kernel as
router, the same tests show that the expectations are right."""

import select
import socket
import struct
import time
import unittest

from scapy.layers.inet import ICMP, IP, TCP, UDP, Ether
from scapy.layers.inet6 import (ICMPv6DestUnreach, ICMPv6EchoRequest, ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6,
                                IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, PadN)
from scapy.layers.l2 import GRE
from scapy.packet import Raw

from lab import KERNEL, NETWORKS, PATIENCE, Lab, wait_for
from traffic import wait_ping

LAN, WAN, ALT = NETWORKS["lan"], NETWORKS["wan"], NETWORKS["alt"]
MARK = b"halfpoll-flow"
COUNT = 32  # packets of a kind: by chance all take one path once in 2^31 times
FAR4, FAR6 = "198.51.100.7", "2001:db8:f::7"
ENDS4, ENDS6 = {"src": "10.9.0.1", "dst": FAR4}, {"src": "2001:db8:a::1", "dst": FAR6}
IN4, IN6 = {"src": "172.16.0.1", "dst": "172.17.0.1"}, {"src": "fd00:1::1", "dst": "fd00:2::1"}
PORTS = {"sport": 1000, "dport": 2000}


def udp(**fields):
    return UDP(**{**PORTS, **fields})


def words(protocol, *values):
    """A layer-4 header of 32-bit words for IPv4."""
    return IP(**ENDS4, proto=protocol) / Raw(struct.pack(f"!{len(values)}I", *values))


# What the packets of a kind differ in: a function of the packet's number.
IPV4 = {
    "src": lambda i: IP(src=f"10.9.{i}.1", dst=FAR4) / udp(),
    "dst": lambda i: IP(src=ENDS4["src"], dst=f"198.51.100.{i + 2}") / udp(),
    "protocol": lambda i: IP(**ENDS4, proto=150 + i) / Raw(bytes(8)),
    "sport": lambda i: IP(**ENDS4) / udp(sport=1000 + i),
    "dport": lambda i: IP(**ENDS4) / TCP(sport=1000, dport=2000 + i),
    "sport of first fragment": lambda i: IP(**ENDS4, flags="MF") / udp(sport=1000 + i),
    "tos and id": lambda i: IP(**ENDS4, tos=i << 2, id=i) / udp(),
    "SCTP port": lambda i: words(132, 1000 + i << 16 | 7, 0),
    "DCCP port": lambda i: words(33, 1000 + i << 16 | 7, 0),
    "UDP-Lite port": lambda i: words(136, 1000 + i << 16 | 7, 0),
    "ESP SPI": lambda i: words(50, 77000 + i, 0),
    "AH SPI": lambda i: words(51, 0x3B040000, 77000 + i, 0),
    "echo id": lambda i: IP(**ENDS4) / ICMP(id=i),
    "address in ICMP error": lambda i: IP(**ENDS4) / ICMP(type=3, code=3) / IP(src=FAR4, dst=f"10.9.{i}.2") / udp(),
    "address in echo": lambda i: IP(**ENDS4) / ICMP() / IP(src=FAR4, dst=f"10.9.{i}.2") / udp(),
    "IPIP inner src": lambda i: IP(**ENDS4) / IP(src=f"172.16.{i}.1", dst=IN4["dst"]) / udp(),
    "IPIP inner dst": lambda i: IP(**ENDS4) / IP(src=IN4["src"], dst=f"172.17.{i}.1") / udp(),
    "IPIP inner protocol": lambda i: IP(**ENDS4) / IP(**IN4, proto=150 + i) / Raw(bytes(8)),
    "IPIP inner sport": lambda i: IP(**ENDS4) / IP(**IN4) / udp(sport=1000 + i),
    "IPIP inner dport": lambda i: IP(**ENDS4) / IP(**IN4) / udp(dport=2000 + i),
    "6in4 inner src": lambda i: IP(**ENDS4) / IPv6(src=f"fd00:1::{i + 1:x}", dst=IN6["dst"]) / udp(),
    "6in4 inner label": lambda i: IP(**ENDS4) / IPv6(**IN6, fl=1000 + i) / udp(),
    "6in4 inner protocol": lambda i: IP(**ENDS4) / IPv6(**IN6, nh=150 + i) / Raw(bytes(8)),
    "GRE inner src": lambda i: IP(**ENDS4) / GRE() / IP(src=f"172.16.{i}.1", dst=IN4["dst"]) / udp(),
    "GRE with key inner src": lambda i: IP(**ENDS4) / GRE(key_present=1, chksum_present=1, seqnum_present=1, key=7)
                                        / IP(src=f"172.16.{i}.1", dst=IN4["dst"]) / udp(),
    "GRE key": lambda i: IP(**ENDS4) / GRE(key_present=1, key=1000 + i) / IP(**IN4) / udp(),
    "GRE Ethernet inner dst": lambda i: IP(**ENDS4) / GRE(proto=0x6558) / Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
                                        / IP(src=IN4["src"], dst=f"172.17.{i}.1") / udp(),
    "IPIP twice innermost dst": lambda i: IP(**ENDS4) / IP(**IN4) / IP(src="192.168.1.1", dst=f"192.168.2.{i + 1}") / udp(),
}
IPV6 = {
    "src": lambda i: IPv6(src=f"2001:db8:a::{i + 1:x}", dst=FAR6) / udp(),
    "dst": lambda i: IPv6(src=ENDS6["src"], dst=f"2001:db8:f::{i + 1:x}") / udp(),
    "label": lambda i: IPv6(**ENDS6, fl=1000 + i) / udp(),
    "protocol": lambda i: IPv6(**ENDS6, nh=150 + i) / Raw(bytes(8)),
    "sport": lambda i: IPv6(**ENDS6) / udp(sport=1000 + i),
    "dport": lambda i: IPv6(**ENDS6) / TCP(sport=1000, dport=2000 + i),
    "sport behind an option": lambda i: IPv6(**ENDS6) / IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(4))]) / udp(sport=1000 + i),
    "sport of first fragment": lambda i: IPv6(**ENDS6) / IPv6ExtHdrFragment(m=1, nh=17) / udp(sport=1000 + i),
    "traffic class": lambda i: IPv6(**ENDS6, tc=i << 2) / udp(),
    "echo id": lambda i: IPv6(**ENDS6) / ICMPv6EchoRequest(id=i),
    "address in ICMP error": lambda i: IPv6(**ENDS6) / ICMPv6DestUnreach() / IPv6(src=FAR6, dst=f"2001:db8:a::{i + 1:x}") / udp(),
    "6in6 inner src": lambda i: IPv6(**ENDS6) / IPv6(src=f"fd00:1::{i + 1:x}", dst=IN6["dst"]) / udp(),
    "6in6 inner dst": lambda i: IPv6(**ENDS6) / IPv6(src=IN6["src"], dst=f"fd00:2::{i + 1:x}") / udp(),
    "6in6 inner label": lambda i: IPv6(**ENDS6) / IPv6(**IN6, fl=1000 + i) / udp(),
    "6in6 outer label": lambda i: IPv6(**ENDS6, fl=1000 + i) / IPv6(**IN6) / udp(),
    "6in6 inner protocol": lambda i: IPv6(**ENDS6) / IPv6(**IN6, nh=150 + i) / Raw(bytes(8)),
    "6in6 inner sport": lambda i: IPv6(**ENDS6) / IPv6(**IN6) / udp(sport=1000 + i),
    "4in6 inner dst": lambda i: IPv6(**ENDS6) / IP(src=IN4["src"], dst=f"172.17.{i}.1") / udp(),
    "4in6 inner protocol": lambda i: IPv6(**ENDS6) / IP(**IN4, proto=150 + i) / Raw(bytes(8)),
    "GRE inner src": lambda i: IPv6(**ENDS6) / GRE() / IPv6(src=f"fd00:1::{i + 1:x}", dst=IN6["dst"]) / udp(),
}

TUNNELS4 = {"IPIP inner src", "IPIP inner dst", "6in4 inner src", "GRE inner src", "GRE with key inner src",
            "GRE Ethernet inner dst", "IPIP twice innermost dst"}
TUNNELS6 = {"6in6 inner src", "6in6 inner dst", "4in6 inner dst", "GRE inner src"}
# Policy and fields; the kinds of IPv4 packets, and of IPv6, that are spread. The packets of all others take one path.
POLICIES = (
    (0, None, {"src", "dst", "address in ICMP error"},
     {"src", "dst", "label", "protocol", "address in ICMP error", "6in6 outer label"}),
    (1, None, {"src", "dst", "protocol", "sport", "dport", "SCTP port", "DCCP port", "UDP-Lite port", "ESP SPI", "AH SPI"},
     {"src", "dst", "protocol", "sport", "dport", "sport behind an option"}),
    (2, None, {"src", "dst", "6in4 inner label", "6in4 inner protocol"} | TUNNELS4,
     {"src", "dst", "label", "protocol", "6in6 inner label", "6in6 outer label", "6in6 inner protocol"} | TUNNELS6),
    (3, 0x007, {"src", "dst", "protocol"}, {"src", "dst", "protocol"}),
    (3, 0x018, {"sport", "SCTP port", "DCCP port", "UDP-Lite port"},
     {"label", "6in6 outer label", "sport", "sport behind an option"}),
    (3, 0x021, {"src", "dport", "ESP SPI", "AH SPI"}, {"src", "dport"}),
    (3, 0x0c0, TUNNELS4, TUNNELS6),
    (3, 0x300, {"IPIP inner protocol", "6in4 inner protocol", "6in4 inner label"},
     {"6in6 inner label", "6in6 outer label", "6in6 inner protocol", "4in6 inner protocol"}),
    (3, 0xc00, {"IPIP inner sport", "IPIP inner dport"}, {"6in6 inner sport"}),
)


def frame(packet, number=0):
    return bytes(Ether(src=LAN.host_mac, dst=LAN.router_mac) / packet / (MARK + bytes([number])))


class MultipathPolicies(unittest.TestCase):
    """Which packets share a path under each policy. Where a change of policy is not followed, the test waits for it."""

    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.router = cls.lab.router
        for address in (WAN.host4, WAN.host6, ALT.host4, ALT.host6):
            wait_ping(cls.router, address, 5)
        for net in ("198.51.100.0/24", "10.9.0.0/16"):
            cls.router.ip("route", "add", net, "nexthop", "via", WAN.host4, "nexthop", "via", ALT.host4)
        cls.router.ip("-6", "route", "add", "2001:db8::/32", "nexthop", "via", WAN.host6, "nexthop", "via", ALT.host6)
        cls.frames = {kinds: {name: [frame(make(i), i) for i in range(COUNT)] for name, make in table.items()}
                      for kinds, table in (("ipv4", IPV4), ("ipv6", IPV6))}

    @classmethod
    def tearDownClass(cls):
        cls.lab.stop()

    def paths(self, frames):
        """Returns which host gets each frame, in their order."""
        got, end = {}, time.monotonic() + 5 * PATIENCE
        hosts = self.lab.server, self.lab.backup
        with self.lab.client.packets() as here, hosts[0].packets() as one, hosts[1].packets() as two:
            for f in frames:
                here.send(f)
            while len(got) < len(frames):
                for s in select.select([one, two], [], [], 0.1)[0]:
                    data, address = s.recvfrom(65536)
                    at = data.rfind(MARK)
                    if at >= 0 and address[2] != socket.PACKET_OUTGOING:
                        got[data[at + len(MARK)]] = s is one
                self.assertLess(time.monotonic(), end, f"{len(got)} of {len(frames)} arrived")
        return [got[i] for i in range(len(frames))]

    def spread(self, kinds):
        return {name for name, frames in self.frames[kinds].items() if len(set(self.paths(frames))) == 2}

    def select(self, policy, fields=None):
        for family in ("ipv4", "ipv6"):
            if fields is not None:
                self.router.sysctl(**{f"{family}__fib_multipath_hash_fields": fields})
            self.router.sysctl(**{f"{family}__fib_multipath_hash_policy": policy})

    def test_what_makes_a_flow(self):
        for policy, fields, *wanted in POLICIES:
            self.select(policy, fields)
            for kinds, spread in zip(("ipv4", "ipv6"), wanted):
                with self.subTest(f"{kinds} policy {policy} fields {fields}"):
                    now = self.spread(kinds)
                    if not KERNEL and now != spread:  # not read yet
                        wait_for("the policy is followed", lambda k=kinds, s=spread: self.spread(k) == s, 3)
                    else:
                        self.assertEqual(now, spread)

    def test_what_belongs_to_a_flow(self):
        """The other direction, and by addresses the ICMP errors, take the path of the flow."""
        numbers = range(COUNT)
        there4 = [IP(src=f"10.9.{i}.1", dst=FAR4) / udp() for i in numbers]
        back4 = [IP(src=FAR4, dst=f"10.9.{i}.1") / udp(sport=2000, dport=1000) for i in numbers]
        about4 = [IP(src="198.51.100.200", dst=f"10.9.{i}.1") / ICMP(type=11) / there4[i] for i in numbers]
        there6 = [IPv6(src=f"2001:db8:a::{i + 1:x}", dst=FAR6, fl=5) / udp() for i in numbers]
        back6 = [IPv6(src=FAR6, dst=f"2001:db8:a::{i + 1:x}", fl=5) / udp(sport=2000, dport=1000) for i in numbers]
        about6 = [IPv6(src="2001:db8:f::99", dst=f"2001:db8:a::{i + 1:x}") / ICMPv6DestUnreach() / there6[i] for i in numbers]
        for policy in (0, 1, 2):
            self.select(policy)
            for flow, *others in ((there4, back4, about4), (there6, back6, about6)):
                for kind, other in zip(("back", "about"), others):
                    if kind == "about" and policy != 0:
                        continue
                    with self.subTest(f"{flow[0].name} {kind} policy {policy}"):
                        wait_for("it takes the path of its flow", lambda f=flow, o=other: self.paths(
                            [frame(p, i) for i, p in enumerate(f)]) == self.paths([frame(p, i) for i, p in enumerate(o)]), 3)


class Settings(unittest.TestCase):
    """Settings of interfaces that are not reported, and addresses that were reserved once."""

    @classmethod
    def setUpClass(cls):
        cls.lab = Lab(("lan", "wan"))
        cls.client, cls.server, cls.router = cls.lab.client, cls.lab.server, cls.lab.router
        for address in (LAN.host4, LAN.host6, WAN.host4, WAN.host6):
            wait_ping(cls.router, address, 5)
        cls.router.ip("route", "add", "default", "via", WAN.host4)
        cls.router.ip("-6", "route", "add", "default", "via", WAN.host6)

    @classmethod
    def tearDownClass(cls):
        cls.lab.stop()

    def passes(self, packet, to_mac=None):
        """True if a packet is forwarded (to this link address), False if it is not: one that is, is sent behind it."""
        family = type(packet)
        last = family(src=LAN.host4, dst=WAN.host4) if family is IP else family(src=LAN.host6, dst=WAN.host6)
        seen = False
        with self.server.packets() as there, self.client.packets() as here:
            here.send(frame(packet, 1))
            for attempt in range(3):  # one waits for the other only if both take the same way through the router
                self.client.run("ping", "-n", "-c", 1, "-W", 20, LAN.router4)
                here.send(frame(last / udp(), 2 + attempt))
            while True:
                data, address = there.recvfrom(65536)
                at = data.rfind(MARK)
                if at < 0 or address[2] == socket.PACKET_OUTGOING or data[14] >> 4 != (4 if family is IP else 6):
                    continue
                number = data[at + len(MARK)]
                seen |= number == 1 and (to_mac is None or data[:6].hex(":") == to_mac)
                if number == 4:
                    return seen

    def wait_passes(self, wanted, packet, **more):
        wait_for(f"passes: {wanted}", lambda: self.passes(packet, **more) == wanted, 3)

    def left(self):
        punts = self.lab.punts()
        return self.lab.left_to_kernel() + punts["other"] + punts["no_route"]

    def fast(self, packet):
        """True if a packet passes, and the kernel does not see it."""
        if KERNEL:
            return self.passes(packet)
        before = self.left()
        return self.passes(packet) and self.left() == before

    def test_addresses_that_were_reserved(self):
        """Linux forwards network 0 and class E since 5.3, but for 0.0.0.0 and 255.255.255.255."""
        for address in ("0.0.0.1", "0.255.1.2", "240.0.0.1", "255.0.0.1", "255.255.255.254"):
            with self.subTest(address):
                wait_for("it passes by the fast path",
                         lambda a=address: self.fast(IP(src=a, dst=FAR4) / udp()) and self.fast(IP(src=LAN.host4, dst=a) / udp()))
        for address in ("0.0.0.0", "255.255.255.255", "127.0.0.1", "224.0.0.1"):
            with self.subTest(address):
                self.assertFalse(self.passes(IP(src=address, dst=FAR4) / udp()))

    def test_reserved_addresses_with_a_reverse_path_check(self):
        self.router.ip("route", "add", "240.1.0.0/16", "via", LAN.host4)
        for mode, source, wanted in ((1, "240.1.0.1", True), (1, "240.2.0.1", False), (2, "240.2.0.1", True), (0, "240.2.0.1", True)):
            self.router.sysctl(ipv4__conf__lan0__rp_filter=mode)
            with self.subTest(f"{mode} {source}"):
                self.wait_passes(wanted, IP(src=source, dst=FAR4) / udp())

    def test_route_localnet(self):
        packet = IP(src="127.0.0.5", dst=FAR4) / udp()
        for value in (0, 1, 0):
            self.router.sysctl(ipv4__conf__lan0__route_localnet=value)
            self.wait_passes(value == 1, packet)
        self.router.sysctl(ipv4__conf__all__route_localnet=1)
        self.wait_passes(True, packet)
        self.router.sysctl(ipv4__conf__all__route_localnet=0)
        self.wait_passes(False, packet)

    def test_accept_local(self):
        packet = IP(src=LAN.router4, dst=FAR4) / udp()
        self.router.sysctl(ipv4__conf__lan0__rp_filter=2)
        for value in (0, 1, 0):
            self.router.sysctl(ipv4__conf__lan0__accept_local=value)
            self.wait_passes(value == 1, packet)
        self.router.sysctl(ipv4__conf__lan0__rp_filter=0)

    def test_accepted_redirects(self):
        """A redirect that the kernel accepts for a flow of its own moves forwarded packets, too."""
        other = "02:99:99:99:99:99"
        self.router.ip("neigh", "replace", "10.77.2.9", "lladdr", other, "dev", "wan0")
        self.router.sysctl(ipv4__conf__all__accept_redirects=1, ipv4__conf__wan0__accept_redirects=1,
                           ipv4__conf__all__secure_redirects=0, ipv4__conf__wan0__secure_redirects=0)
        far = "198.51.100.77"
        with self.router.udp(WAN.router4, 4000) as own, self.server.packets() as there:
            own.connect((far, 4001))
            own.send(b"the kernel has a route for it")
            there.send(bytes(Ether(src=WAN.host_mac, dst=WAN.router_mac) / IP(src=WAN.host4, dst=WAN.router4)
                             / ICMP(type=5, code=1, gw="10.77.2.9") / IP(src=WAN.router4, dst=far) / UDP(sport=4000, dport=4001)
                             / Raw(bytes(8))))
            self.wait_passes(True, IP(src=LAN.host4, dst=far) / udp(), to_mac=other)
        self.router.sysctl(ipv4__conf__all__accept_redirects=0)

    def test_proxy_ndp(self):
        """The kernel answers a solicitation that is sent to a proxied address itself, and does not forward it."""
        proxied = "2001:db8:5::5"
        self.router.sysctl(ipv6__conf__all__proxy_ndp=1, ipv6__conf__lan0__proxy_ndp=1)
        self.router.ip("-6", "neigh", "add", "proxy", proxied, "dev", "lan0")
        question = bytes(Ether(src=LAN.host_mac, dst=LAN.router_mac) / IPv6(src=LAN.host6, dst=proxied, hlim=255)
                         / ICMPv6ND_NS(tgt=proxied) / ICMPv6NDOptSrcLLAddr(lladdr=LAN.host_mac))

        def answered():
            end = time.monotonic() + 1
            with self.client.packets() as here:
                here.send(question)
                while select.select([here], [], [], max(0, end - time.monotonic()))[0]:
                    data, address = here.recvfrom(65536)
                    if address[2] != socket.PACKET_OUTGOING and ICMPv6ND_NA in Ether(data):
                        return Ether(data)[ICMPv6ND_NA].tgt == proxied
            return False
        wait_for("it is answered", answered, 5)
        self.router.sysctl(ipv6__conf__all__proxy_ndp=0)
