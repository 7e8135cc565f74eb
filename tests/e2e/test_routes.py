# SPDX-License-Identifier: BSD-3-Clause
"""Routes, addresses and neighbours, changed with `ip` while traffic flows."""

import re
import time
import unittest

from lab import FAR4, FAR4_NET, FAR6, FAR6_NET, NETWORKS, Lab, wait_for
from traffic import Sink, Stream, answers, ping, wait_ping

LAN, WAN, ALT = NETWORKS["lan"], NETWORKS["wan"], NETWORKS["alt"]
ERRORS = 8  # seconds: the kernel limits ICMP errors to one host to about one a second
FAMILIES = (
    # ip option, far address, its network, next hop at server, at backup, source
    ("-4", FAR4, FAR4_NET, WAN.host4, ALT.host4, LAN.host4),
    ("-6", FAR6, FAR6_NET, WAN.host6, ALT.host6, LAN.host6),
)


class Routes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.client, cls.server, cls.router, cls.backup = cls.lab.client, cls.lab.server, cls.lab.router, cls.lab.backup

    @classmethod
    def tearDownClass(cls):
        cls.lab.stop()

    def tearDown(self):
        for family, _, net, *_ in FAMILIES:
            self.router.ip(family, "route", "flush", net)

    def test_add_and_delete(self):
        for family, far, net, server, *_ in FAMILIES:
            with self.subTest(family):
                self.assertFalse(answers(self.client, far))
                self.router.ip(family, "route", "add", net, "via", server)
                wait_ping(self.client, far, 3)
                self.router.ip(family, "route", "del", net)
                wait_for("the route is gone", lambda a=far: not answers(self.client, a), 3)

    def test_no_route_is_told_to_the_sender(self):
        for _, far, *_ in FAMILIES:
            wait_for(f"a message that there is no route to {far}",
                     lambda a=far: self.told(a, "(Net|Network|Destination) [Uu]nreachable|No route"), ERRORS)

    def told(self, address, pattern):
        """True if an echo request is answered by an error that matches `pattern`."""
        return re.search(pattern, self.client.run("ping", "-n", "-c", 1, "-W", 1, address, check=False).stdout)

    def test_special_routes(self):
        """Unreachable and prohibit routes are answered, blackhole is silent; an ordinary route takes over again."""
        for family, far, net, server, *_ in FAMILIES:
            for kind, says in (("unreachable", "[Uu]nreachable|No route"), ("prohibit", "[Ff]iltered|prohibited|Permission"),
                               ("blackhole", None)):
                with self.subTest(f"{family} {kind}"):
                    self.router.ip(family, "route", "replace", kind, net)
                    if says:
                        wait_for(f"a message like {says}", lambda a=far, t=says: self.told(a, t), ERRORS)
                    else:
                        wait_for("silence", lambda a=far: not self.told(a, "From"), ERRORS)
                    self.assertFalse(answers(self.client, far))
                    self.router.ip(family, "route", "del", kind, net)
                    self.router.ip(family, "route", "add", net, "via", server)
                    wait_ping(self.client, far, 3)
                    self.router.ip(family, "route", "del", net)

    @staticmethod
    def some_arrive(*sinks):
        """Waits until more datagrams have arrived at these sinks in total."""
        before = sum(len(s.got) for s in sinks)
        wait_for("datagrams arrive there", lambda: sum(len(s.got) for s in sinks) >= before + 20)

    def test_replace_loses_nothing(self):
        """A route moves between two next hops under load: every datagram arrives at one of them, once."""
        for family, far, net, server, backup, source in FAMILIES:
            with self.subTest(family):
                for via in (backup, server):
                    self.router.ip(family, "route", "replace", net, "via", via)
                    wait_ping(self.client, far, 3)
                with Sink(self.server, far, 7100) as one, Sink(self.backup, far, 7100) as two:
                    with Stream(self.client, source, (far, 7100), sinks=[one, two]) as stream:
                        for _ in range(10):
                            for via in (backup, server):
                                self.router.ip(family, "route", "replace", net, "via", via)
                                self.some_arrive(two if via == backup else one)
                    wait_for("what was sent arrives", lambda: len(one.got) + len(two.got) >= stream.sent, 3)
                self.assertEqual(sorted(one.got + two.got), list(range(stream.sent)))

    def test_more_specific_route_wins_and_goes(self):
        for family, far, net, server, backup, source in FAMILIES:
            with self.subTest(family):
                host = far + ("/32" if family == "-4" else "/128")
                self.router.ip(family, "route", "add", net, "via", server)
                wait_ping(self.client, far, 3)
                ping(self.router, backup)
                with Sink(self.server, far, 7100) as one, Sink(self.backup, far, 7100) as two:
                    with Stream(self.client, source, (far, 7100), sinks=[one, two]) as stream:
                        for _ in range(5):
                            self.router.ip(family, "route", "add", host, "via", backup)
                            self.some_arrive(two)
                            self.router.ip(family, "route", "del", host)
                            self.some_arrive(one)
                    wait_for("what was sent arrives", lambda: len(one.got) + len(two.got) >= stream.sent, 3)
                self.assertEqual(sorted(one.got + two.got), list(range(stream.sent)))

    def test_default_route(self):
        for family, far, _, server, *_ in FAMILIES:
            self.router.ip(family, "route", "add", "default", "via", server)
            wait_ping(self.client, far, 3)
            self.router.ip(family, "route", "del", "default")
            wait_for("the route is gone", lambda a=far: not answers(self.client, a), 3)

    def test_many_routes_at_once(self):
        """The mirror follows 5,000 routes in one batch, and their removal."""
        batch = self.lab.folder / "routes"
        prefixes = [f"172.{16 + i // 256}.{i % 256}.0/24" for i in range(4096)] + [f"192.168.{i}.0/25" for i in range(256)]
        batch.write_text("".join(f"route add {p} via {WAN.host4}\n" for p in prefixes), encoding="ascii")
        self.router.ip("-batch", batch)
        self.server.ip("addr", "add", "172.31.255.1/32", "dev", "lo")
        self.server.ip("addr", "add", "192.168.255.1/32", "dev", "lo")
        self.server.ip("addr", "add", "192.168.255.129/32", "dev", "lo")
        wait_ping(self.client, "172.31.255.1", 5)
        wait_ping(self.client, "192.168.255.1", 5)
        # Not at once: the default route of an earlier test may still be leaving the table.
        wait_for("what no route covers is unreachable", lambda: not answers(self.client, "192.168.255.129"), 3)
        batch.write_text("".join(f"route del {p}\n" for p in prefixes), encoding="ascii")
        self.router.ip("-batch", batch)
        wait_for("the routes are gone", lambda: not answers(self.client, "172.31.255.1"), 5)

    def test_neighbour_changes_its_link_address(self):
        """The server changes its MAC address and announces it; a stream goes on."""
        self.server.sysctl(ipv4__conf__eth0__arp_notify=1, ipv6__conf__eth0__ndisc_notify=1)
        try:
            for i in (0x42, 0x02):
                ping(self.client, WAN.host4)
                ping(self.client, WAN.host6)
                time.sleep(1.1)  # the kernel ignores a second gratuitous ARP within a second (locktime)
                self.server.ip("link", "set", "eth0", "address", f"02:77:00:00:02:{i:02x}")
                wait_ping(self.client, WAN.host4, 5)
                wait_ping(self.client, WAN.host6, 5)
        finally:
            self.server.ip("link", "set", "eth0", "address", WAN.host_mac)

    def test_neighbour_set_by_hand(self):
        """A wrong permanent neighbour breaks the path and the right one mends it: the kernel's entry is always used."""
        for address in (WAN.host4, WAN.host6):
            ping(self.client, address)
            self.router.ip("neigh", "replace", address, "lladdr", "02:00:00:00:00:99", "dev", WAN.dev, "nud", "permanent")
            wait_for("the wrong neighbour is used", lambda a=address: not answers(self.client, a), 3)
            self.router.ip("neigh", "replace", address, "lladdr", WAN.host_mac, "dev", WAN.dev, "nud", "reachable")
            wait_ping(self.client, address, 3)

    def test_neighbour_that_does_not_answer(self):
        """The sender gets a host unreachable error when resolution has failed."""
        done = self.client.run("ping", "-n", "-c", 1, "-W", 5, WAN.host4[:-1] + "77", check=False)
        self.assertIn("Host Unreachable", done.stdout)

    def test_second_address_on_a_port(self):
        self.router.ip("addr", "add", "10.78.2.1/24", "dev", WAN.dev)
        self.server.ip("addr", "add", "10.78.2.2/24", "dev", "eth0")
        wait_ping(self.client, "10.78.2.1", 3)
        wait_ping(self.client, "10.78.2.2", 3)
        self.router.ip("addr", "del", "10.78.2.1/24", "dev", WAN.dev)
        wait_for("the network is gone", lambda: not answers(self.client, "10.78.2.2"), 3)
        self.server.ip("addr", "del", "10.78.2.2/24", "dev", "eth0")
        self.assertTrue(answers(self.client, WAN.host4))
