# SPDX-License-Identifier: BSD-3-Clause
"""Rules of iptables and ip6tables (legacy tables) and virtual services hold for forwarded packets."""

import contextlib
import re
import socket
import unittest

from lab import KERNEL, NETWORKS, Lab, wait_for
from traffic import Thread, answers, ping, udp_echo, wait_ping

LAN, WAN = NETWORKS["lan"], NETWORKS["wan"]
FAMILIES = (
    # command, source, destination, the router's address there
    ("iptables-legacy", LAN.host4, WAN.host4, WAN.router4),
    ("ip6tables-legacy", LAN.host6, WAN.host6, WAN.router6),
)
PINGS = 20
VIP = "10.77.9.9"


class ObeyXtables(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab(ports=("lan", "wan"))
        cls.client, cls.server, cls.router = cls.lab.client, cls.lab.server, cls.lab.router

    @classmethod
    def tearDownClass(cls):
        cls.lab.stop()

    def setUp(self):
        for command, _, to, _ in FAMILIES:
            tried = self.router.run(command, "-t", "filter", "-S", check=False)
            if tried.returncode:
                self.skipTest(f"{command}: {tried.stdout}")
            wait_ping(self.client, to, 3)

    @contextlib.contextmanager
    def rule(self, command, chain, *rule, table="filter"):
        """A rule until the block ends. The fast path then takes the packets again."""
        self.router.run(command, "-w", "-t", table, "-A", chain, *rule)
        try:
            yield
        finally:
            self.router.run(command, "-w", "-t", table, "-D", chain, *rule)
        wait_for("the fast path takes all packets", self.all_fast)

    def all_fast(self):
        """True if the kernel forwards none of the packets of some pings."""
        before = 0 if KERNEL else self.lab.left_to_kernel()
        for _, _, to, _ in FAMILIES:
            ping(self.client, to)
        return KERNEL or self.lab.left_to_kernel() == before

    def test_rule_drops(self):
        for command, _, to, _ in FAMILIES:
            for table, chain in (("filter", "FORWARD"), ("raw", "PREROUTING"), ("mangle", "POSTROUTING")):
                with self.subTest(f"{command} {table} {chain}"):
                    with self.rule(command, chain, "-d", to, "-j", "DROP", table=table):
                        wait_for("nothing passes", lambda a=to: not answers(self.client, a))
                        for _, _, other, _ in FAMILIES:
                            self.assertEqual(answers(self.client, other), other != to)

    def test_chain_policy_drops(self):
        for command, _, to, _ in FAMILIES:
            with self.subTest(command):
                self.router.run(command, "-w", "-P", "FORWARD", "DROP")
                try:
                    wait_for("nothing passes", lambda a=to: not answers(self.client, a))
                    self.assertFalse(answers(self.client, to))
                finally:
                    self.router.run(command, "-w", "-P", "FORWARD", "ACCEPT")
                wait_ping(self.client, to, 3)
                wait_for("the fast path takes all packets", self.all_fast)

    def test_rule_counts_every_packet(self):
        for command, _, to, _ in FAMILIES:
            with self.subTest(command):
                with self.rule(command, "FORWARD", "-j", "ACCEPT"):
                    wait_for("the rule sees packets", lambda c=command, a=to: ping(self.client, a) and self.counted(c))
                    before = self.counted(command)
                    ping(self.client, to, count=PINGS, interval=0.01)
                    self.assertGreaterEqual(self.counted(command) - before, 2 * PINGS)

    def counted(self, command):
        """Packets that the one rule of chain FORWARD has seen."""
        listed = self.router.run(command, "-w", "-vxnL", "FORWARD").stdout
        return int(re.search(r"^ *(\d+) +\d+ +ACCEPT", listed, re.MULTILINE)[1])

    def test_stateful_rules(self):
        """What the client begins is answered; what the server begins is dropped."""
        for command, source, to, _ in FAMILIES:
            with self.subTest(command):
                with self.rule(command, "FORWARD", "-m", "conntrack", "--ctstate", "NEW", "-i", WAN.dev, "-j", "DROP"):
                    wait_for("the server reaches nobody", lambda a=source: not answers(self.server, a))
                    self.assertFalse(answers(self.server, source))
                    ping(self.client, to, count=PINGS, interval=0.01)

    def test_masquerade(self):
        for command, source, to, router in FAMILIES:
            with self.subTest(command):
                self.assertEqual(self.seen_by_server(source, to), source)
                with self.rule(command, "POSTROUTING", "-o", WAN.dev, "-j", "MASQUERADE", table="nat"):
                    wait_for("the server sees the router's address",
                             lambda s=source, t=to, r=router: self.seen_by_server(s, t) == r)
                    self.assertEqual(self.seen_by_server(source, to), router)
                self.assertEqual(self.seen_by_server(source, to), source)

    def seen_by_server(self, source, to):
        """Sends a datagram to the server, which answers with the address from which it came. Returns what it says."""
        with self.server.udp(to, 7000) as there, self.client.udp(source) as here:
            here.sendto(b"?", (to, 7000))
            peer = there.recvfrom(100)[1]
            there.sendto(peer[0].encode(), peer)
            return here.recv(100).decode()

    def test_destination_nat(self):
        with self.rule("iptables-legacy", "PREROUTING", "-d", VIP, "-j", "DNAT", "--to-destination", WAN.host4,
                       table="nat"):
            wait_ping(self.client, VIP, 3)

    def test_segment_size_is_clamped(self):
        for command, source, to, _ in FAMILIES:
            with self.subTest(command):
                self.assertGreater(self.segment_size(source, to), 1000)
                with self.rule(command, "FORWARD", "-p", "tcp", "--tcp-flags", "SYN,RST", "SYN", "-j", "TCPMSS",
                               "--set-mss", 900, table="mangle"):
                    wait_for("connections with small segments",
                             lambda s=source, t=to: self.segment_size(s, t) <= 900)
                    self.assertLessEqual(self.segment_size(source, to), 900)
                self.assertGreater(self.segment_size(source, to), 1000)

    def segment_size(self, source, to):
        """The largest segment that the server would send on a new connection of the client."""
        with self.server.tcp(to) as listener, self.client.tcp(to) as here:
            listener.bind((to, 7001))
            listener.listen(1)
            accepted = Thread(listener.accept)
            here.bind((source, 0))
            here.connect((to, 7001))
            with accepted.result()[0] as there:
                return there.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)

    def test_virtual_service(self):
        """IPVS gives the datagrams of a virtual service to a real server, and translates its answers back."""
        tried = self.router.run("ipvsadm", "-ln", check=False)
        if tried.returncode:
            self.skipTest(f"ipvsadm: {tried.stdout}")
        self.router.ip("addr", "add", VIP + "/32", "dev", "lo")
        self.addCleanup(self.router.ip, "addr", "del", VIP + "/32", "dev", "lo")
        self.router.run("ipvsadm", "-A", "-u", f"{VIP}:7000", "-s", "rr")
        try:
            self.router.run("ipvsadm", "-a", "-u", f"{VIP}:7000", "-r", f"{WAN.host4}:7000", "-m")
            with udp_echo(self.server, WAN.host4), self.client.udp(LAN.host4, timeout=1.0) as here:
                here.connect((VIP, 7000))
                wait_for("the virtual service answers", lambda: self.echoes(here))
        finally:
            self.router.run("ipvsadm", "-C")
        wait_for("the fast path takes all packets", self.all_fast)

    @staticmethod
    def echoes(here):
        try:
            here.send(b"?")
            return here.recv(100) == b"?"
        except OSError:
            return False
