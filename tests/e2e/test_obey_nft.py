# SPDX-License-Identifier: BSD-3-Clause
"""nftables on the router: what its rules do to forwarded packets happens, and packets that no rule meets stay on the
fast path. With the kernel as the router the same tests show that the rules mean what the tests expect."""

import shutil
import unittest

from scapy.layers.inet import IP, TCP, UDP, Ether
from scapy.layers.inet6 import IPv6

from lab import KERNEL, NETWORKS, Lab, wait_for
from traffic import Sink, Stream, capture, ping, transfer, udp_echo

LAN, WAN = NETWORKS["lan"], NETWORKS["wan"]
FAMILIES = ("ipv4", "ipv6")
OPEN, SHUT, LAST = 7000, 7001, 7999  # ports; every rule of these tests lets LAST through
MARK = b"halfpoll-test"


def is_datagram(frame):
    """True for a datagram of these tests, and false for an ICMP message that quotes one."""
    return MARK in frame and UDP in Ether(frame)


class ObeyNft(unittest.TestCase):
    config = ""

    @classmethod
    def setUpClass(cls):
        if not shutil.which("nft"):
            raise unittest.SkipTest("there is no nft command")
        cls.lab = Lab(("lan", "wan"), config=cls.config)
        cls.client, cls.server, cls.router = cls.lab.client, cls.lab.server, cls.lab.router

    @classmethod
    def tearDownClass(cls):
        if hasattr(cls, "lab"):
            cls.lab.stop()

    def setUp(self):
        for address in (WAN.host4, WAN.host6):
            ping(self.client, address)

    def tearDown(self):
        self.router.run("nft", "flush", "ruleset", check=False)

    def nft(self, commands):
        done = self.router.run("nft", commands, check=False)
        if "not supported" in done.stdout or "No such file" in done.stdout:
            self.skipTest(done.stdout)
        self.assertEqual(done.returncode, 0, done.stdout)

    def through(self, source="lan", families=FAMILIES):
        """Sends a datagram of each family to each port, from the client, or from the server (`source` wan). Returns the
        family, the source address and the port of those that arrive at the other."""
        here, there = (LAN, WAN) if source == "lan" else (WAN, LAN)
        sender, receiver = (self.client, self.server) if source == "lan" else (self.server, self.client)
        got = []
        for family in families:
            of = "host4" if family == "ipv4" else "host6"
            with receiver.packets() as arriving, sender.udp(getattr(here, of)) as s:
                for port in (OPEN, SHUT, LAST):
                    s.sendto(MARK, (getattr(there, of), port))
                frames = capture(arriving, is_datagram, lambda f: is_datagram(f) and Ether(f)[UDP].dport == LAST)
            for frame in map(Ether, frames):
                got.append((family, frame[IP if family == "ipv4" else IPv6].src, frame[UDP].dport))
        return got

    def by_kernel(self, **more):
        """Returns how many packets halfpoll hands to the kernel for the kernel to forward, of those of through()."""
        before = self.lab.left_to_kernel()
        self.through(**more)
        return self.lab.left_to_kernel() - before

    def obeys(self, commands, handed=6, **more):
        """Runs nft commands and waits until halfpoll hands over what they concern."""
        self.nft(commands)
        if not KERNEL:
            wait_for("the kernel forwards", lambda: self.by_kernel(**more) >= handed)

    def fast_again(self, **more):
        """Removes all rules; then nothing is handed over."""
        self.nft("flush ruleset")
        if not KERNEL:
            wait_for("the fast path forwards", lambda: self.by_kernel(**more) == 0)
        self.assertEqual(self.through(), self.expected(OPEN, SHUT))

    @staticmethod
    def expected(*ports):
        return [(family, address, port) for family, address in zip(FAMILIES, (LAN.host4, LAN.host6)) for port in ports]

    def blocks(self, commands, handed=6):
        """With the commands SHUT does not arrive, and OPEN does."""
        self.obeys(commands, handed)
        self.assertEqual(self.through(), self.expected(OPEN))
        self.fast_again()

    def test_forward_policy_drop(self):
        self.blocks("table inet t { chain c { type filter hook forward priority 0; policy drop;"
                    f"udp dport {{ {OPEN}, {LAST} }} accept; }}; }}")

    def test_forward_policy_drop_of_one_family(self):
        """The other family stays on the fast path."""
        for family, other in (("ip", "ipv6"), ("ip6", "ipv4")):
            with self.subTest(family):
                mine = "ipv4" if family == "ip" else "ipv6"
                self.obeys(f"table {family} t {{ chain c {{ type filter hook forward priority 0; policy drop;"
                           f"udp dport {{ {OPEN}, {LAST} }} accept; }}; }}", handed=3, families=(mine,))
                self.assertEqual([g[2] for g in self.through(families=(mine,))], [OPEN])
                self.assertEqual([g[2] for g in self.through(families=(other,))], [OPEN, SHUT])
                if not KERNEL:
                    self.assertEqual(self.by_kernel(families=(other,)), 0)
                self.fast_again()

    def test_prerouting_raw_drop(self):
        self.blocks("table inet t { chain c { type filter hook prerouting priority raw;"
                    f"udp dport {SHUT} drop; }}; }}")

    def test_postrouting_drop(self):
        self.blocks("table inet t { chain c { type filter hook postrouting priority 0;"
                    f"udp dport {SHUT} drop; }}; }}")

    def test_netdev_ingress_drop(self):
        self.blocks("table netdev t { chain c { type filter hook ingress device lan0 priority 0;"
                    f"udp dport {SHUT} drop; }}; }}")

    def test_netdev_egress_drop(self):
        self.blocks("table netdev t { chain c { type filter hook egress device wan0 priority 0;"
                    f"udp dport {SHUT} drop; }}; }}")

    def test_ingress_of_one_interface(self):
        """What comes in by the other one stays on the fast path."""
        self.obeys("table netdev t { chain c { type filter hook ingress device wan0 priority 0;"
                   f"udp dport {SHUT} drop; }}; }}", source="wan")
        self.assertEqual([g[2] for g in self.through("wan")], [OPEN, OPEN])
        self.assertEqual(self.through(), self.expected(OPEN, SHUT))
        self.fast_again(source="wan")

    def test_stateful(self):
        """The server answers, and begins nothing."""
        self.obeys("table inet t { chain c { type filter hook forward priority 0; policy drop;"
                   f"ct state established,related accept; iifname lan0 accept; udp dport {LAST} accept; }}; }}")
        self.assertEqual(self.through(), self.expected(OPEN, SHUT))
        self.assertEqual(self.through("wan"), [])
        self.echo((WAN.host4, WAN.host6))
        for address in (WAN.host4, WAN.host6):
            transfer(self.client, self.server, address, 1 << 20)
        self.fast_again()

    def test_masquerade(self):
        """The server sees the router, and its answers come back."""
        self.obeys("table inet t { chain c { type nat hook postrouting priority srcnat; oifname wan0 masquerade; }; }")
        self.assertEqual({g[1] for g in self.through()}, {WAN.router4, WAN.router6})
        self.echo((WAN.host4, WAN.host6))
        for address in (WAN.host4, WAN.host6):
            transfer(self.client, self.server, address, 1 << 20)
        self.fast_again()

    def test_dnat(self):
        """The client talks to the router, and the server answers."""
        self.obeys("table inet t { chain c { type nat hook prerouting priority dstnat;"
                   f"iifname lan0 meta nfproto ipv4 udp dport {SHUT} dnat ip to {WAN.host4}:{OPEN};"
                   f"iifname lan0 meta nfproto ipv6 udp dport {SHUT} dnat ip6 to [{WAN.host6}]:{OPEN}; }}; }}")
        self.echo((LAN.router4, LAN.router6), SHUT)
        self.fast_again()

    def test_redirect_to_the_box(self):
        self.obeys("table inet t { chain c { type nat hook prerouting priority dstnat;"
                   f"iifname lan0 udp dport {SHUT} redirect to :{OPEN}; }}; }}")
        for address, router in ((WAN.host4, LAN.router4), (WAN.host6, LAN.router6)):
            with udp_echo(self.router, router, OPEN):
                self.ask(address, SHUT)
        self.fast_again()

    def test_mss(self):
        """TCP's segment size is set on the way."""
        self.obeys("table inet t { chain c { type filter hook forward priority mangle;"
                   "tcp flags syn tcp option maxseg size set 1000; }; }")
        for address in (WAN.host4, WAN.host6):
            with self.server.packets() as there:
                transfer(self.client, self.server, address, 1 << 16)
                syn = next(f for f in iter(lambda: Ether(there.recv(65536)), None) if TCP in f and f[TCP].flags == "S")
            self.assertEqual(dict(syn[TCP].options)["MSS"], 1000)
        self.fast_again()

    def test_chains_that_accept_cost_nothing(self):
        self.nft("table inet t { chain f { type filter hook forward priority 0; policy accept; };"
                 "chain p { type filter hook prerouting priority 0; };"
                 "chain i { type filter hook input priority 0; policy drop; accept; };"
                 "set s { type ipv4_addr; }; }")
        if not KERNEL:
            wait_for("the fast path forwards", lambda: self.by_kernel() == 0)
            self.nft("add element inet t s { 192.0.2.1 }")
            self.assertEqual(self.by_kernel(), 0)
        self.assertEqual(self.through(), self.expected(OPEN, SHUT))

    def test_no_packet_is_lost_when_rules_come_and_go(self):
        """The rule lets all pass, so that packets only change their way."""
        for source, destination in ((LAN.host4, WAN.host4), (LAN.host6, WAN.host6)):
            with Sink(self.server, destination, 7100) as sink:
                with Stream(self.client, source, (destination, 7100), rate=5000, sinks=(sink,)) as stream:
                    for _ in range(5):
                        self.obeys("table inet t { chain c { type filter hook forward priority 0; counter; }; }")
                        self.nft("flush ruleset")
                        already = stream.sent
                        wait_for("the stream goes on", lambda before=already: stream.sent > before + 200)
                wait_for("what was sent arrives", lambda: len(sink.got) >= stream.sent)
                self.assertEqual(sorted(sink.got), list(range(stream.sent)))
        self.fast_again()

    def ask(self, address, port):
        source = LAN.host4 if "." in address else LAN.host6
        with self.client.udp(source) as s:
            s.sendto(MARK, (address, port))
            data, peer = s.recvfrom(65536)
        self.assertEqual((data, peer[:2]), (MARK, (address, port)))

    def echo(self, addresses, port=OPEN):
        for address, server in zip(addresses, (WAN.host4, WAN.host6)):
            with udp_echo(self.server, server, OPEN):
                self.ask(address, port)


@unittest.skipIf(KERNEL, "about halfpoll")
class ObeyNftByTheSlowPath(ObeyNft):
    """The same where no packet may pass inside the kernel: with DPDK's drivers, or before Linux 6.6."""

    config = "\n[forward]\nkernel_pass = false\n"
