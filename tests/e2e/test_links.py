# SPDX-License-Identifier: BSD-3-Clause
"""Pulled cables, interfaces that are taken down, ports that vanish."""

import time
import unittest

from lab import FAR4, FAR6, KERNEL, NETWORKS, Lab, wait_for
from traffic import Sink, Stream, answers, ping, wait_ping

LAN, WAN, ALT = NETWORKS["lan"], NETWORKS["wan"], NETWORKS["alt"]


class Links(unittest.TestCase):
    def setUp(self):
        self.lab = Lab()
        self.client, self.server, self.router, self.backup = (self.lab.client, self.lab.server, self.lab.router,
                                                              self.lab.backup)
        self.addCleanup(self.lab.stop)

    def carrier_changes(self, dev):
        return self.router.ip_json("-s", "-s", "link", "show", "dev", dev)[0]["stats64"]["tx"]["carrier_changes"]

    def test_carrier_reaches_the_shadow(self):
        ping(self.client, WAN.host4)
        for _ in range(3):
            self.lab.host_down(WAN)
            wait_for("no carrier on wan0", lambda: not self.lab.carrier("wan0"), 3)
            if not KERNEL:
                self.assertEqual(self.lab.interface("wan")["state"], "no carrier")
            self.assertTrue(self.lab.carrier("lan0"))
            self.assertFalse(answers(self.client, WAN.host4))
            ping(self.client, ALT.host4)
            self.lab.host_up(WAN)
            wait_for("carrier on wan0", lambda: self.lab.carrier("wan0"), 3)
            wait_ping(self.client, WAN.host4, 3)

    def test_flaps_under_traffic(self):
        ping(self.client, WAN.host4)
        with Sink(self.server, WAN.host4, 7100) as sink, Stream(self.client, LAN.host4, (WAN.host4, 7100), 5000) as stream:
            for _ in range(10):
                self.lab.host_down(WAN)
                time.sleep(0.05)
                self.lab.host_up(WAN)
                before = len(sink.got)
                wait_for("the stream arrives again", lambda b=before: len(sink.got) > b + 10, 5)
        self.assertEqual(len(sink.got), len(set(sink.got)), "duplicates")
        self.assertLessEqual(len(sink.got), stream.sent)

    def test_route_with_dead_link_gives_way(self):
        """With ignore_routes_with_linkdown, the next best route replaces one over a port without carrier."""
        self.router.sysctl(ipv4__conf__all__ignore_routes_with_linkdown=1)
        self.router.ip("route", "add", "198.51.100.0/24", "via", WAN.host4, "metric", 10)
        self.router.ip("route", "add", "198.51.100.0/24", "via", ALT.host4, "metric", 20)
        wait_ping(self.client, "198.51.100.1", 3)
        self.lab.host_down(WAN)
        wait_ping(self.client, "198.51.100.1", 3)
        self.lab.host_up(WAN)
        wait_ping(self.client, "198.51.100.1", 3)

    @unittest.skipIf(KERNEL, "about AF_XDP sockets")
    def test_queues_that_an_interface_gets_are_served(self):
        """When an interface gets more queues, the port is reopened with a socket on each; its shadow keeps its
        carrier."""
        ping(self.client, WAN.host4)
        changes = self.carrier_changes("wan0")
        self.router.run("ethtool", "-L", WAN.port, "rx", 2, "tx", 2)
        wait_for("the port is opened again", lambda: "wan: opened again: its device has 2 rx queues now" in self.lab.output())
        self.server.run("ethtool", "-L", "eth0", "rx", 2, "tx", 2)
        wait_ping(self.client, WAN.host4, 3)
        with Sink(self.client, LAN.host4, 7100) as sink:
            with Stream(self.server, WAN.host4, (LAN.host4, 7100), 500) as stream:
                wait_for("the stream runs", lambda: len(sink.got) > 100)
            wait_for("every datagram has arrived", lambda: len(sink.got) == stream.sent, 3)
        self.assertEqual(self.lab.interface("wan")["state"], "up")
        self.assertEqual(self.lab.interface("wan")["device"]["rx_nohandler"], 0)
        self.assertEqual(self.carrier_changes("wan0"), changes)

    def test_prefix_on_a_dead_link_gives_way_to_a_shorter_one(self):
        """A shorter prefix takes over if there is no other metric; both families."""
        for family in ("ipv4", "ipv6"):
            self.router.sysctl(**{f"{family}__conf__{WAN.dev}__ignore_routes_with_linkdown": 1})
        for via, lengths in ((WAN, (24, 64)), (ALT, (22, 48))):
            self.router.ip("route", "add", f"198.51.100.0/{lengths[0]}", "via", via.host4)
            self.router.ip("route", "add", f"2001:db8:99::/{lengths[1]}", "via", via.host6)
        for _ in range(2):
            for address in (FAR4, FAR6):
                wait_ping(self.client, address, 5)
            self.lab.host_down(WAN)
            wait_for("no carrier on wan0", lambda: not self.lab.carrier("wan0"), 5)
            for address in (FAR4, FAR6):
                wait_ping(self.client, address, 5)
                if not KERNEL:
                    wait_for("the data path goes the other way",
                             lambda a=address: self.lab.show_route(a).get("dev") == "alt", 5)
            self.lab.host_up(WAN)
            wait_for("carrier on wan0", lambda: self.lab.carrier("wan0"), 5)
            if not KERNEL:
                wait_for("the data path is back", lambda: self.lab.show_route(FAR4).get("dev") == "wan", 5)

    def test_shadow_taken_down_and_up(self):
        """`ip link set down` takes the port out of service; IPv4 addresses stay, as on any interface."""
        ping(self.client, WAN.host4)
        self.router.ip("link", "set", "wan0", "down")
        wait_for("nothing passes", lambda: not answers(self.client, WAN.host4), 3)
        ping(self.client, ALT.host4)
        self.router.ip("link", "set", "wan0", "up")
        wait_ping(self.client, WAN.host4, 5)
        self.router.ip("addr", "add", WAN.router6 + "/64", "dev", "wan0", "nodad")
        wait_ping(self.client, WAN.host6, 5)

    @unittest.skipIf(KERNEL, "about halfpoll")
    def test_port_that_vanishes(self):
        """The process and the other ports go on, and `show` gives the reason why the port is out of service."""
        ping(self.client, WAN.host4)
        with Sink(self.backup, ALT.host4, 7100) as sink, Stream(self.client, LAN.host4, (ALT.host4, 7100), 1000) as stream:
            self.server.ip("link", "del", "eth0")
            wait_for("the failure is seen", lambda: self.lab.interface("wan")["failure"], 5)
            time.sleep(0.5)
        self.assertIsNone(self.lab.process.poll())
        self.assertEqual(self.lab.interface("wan")["state"], "failed")
        self.assertRegex(self.lab.interface("wan")["failure"], "removed|gone|p-wan")
        self.assertFalse(self.lab.carrier("wan0"))
        self.assertFalse(answers(self.client, WAN.host4))
        ping(self.client, ALT.host4)
        ping(self.client, ALT.host6)
        wait_for("the other stream lost nothing", lambda: len(sink.got) == stream.sent, 1)

    @unittest.skipIf(KERNEL, "about halfpoll")
    def test_port_that_returns(self):
        """When the interface of a port is made again under its name, the port returns with the addresses of its
        shadow."""
        for _ in range(2):
            ping(self.client, WAN.host4)
            self.server.ip("link", "del", "eth0")
            wait_for("the failure is seen", lambda: self.lab.interface("wan")["failure"], 5)
            wait_for("it says what is missing", lambda: "no such interface" in self.lab.interface("wan")["failure"], 5)
            self.lab.plug(WAN)
            wait_for("the port is back", lambda: self.lab.interface("wan")["state"] == "up", 5)
            wait_for("carrier on wan0", lambda: self.lab.carrier("wan0"), 3)
            wait_ping(self.client, WAN.host4, 5)
            wait_ping(self.client, WAN.host6, 5)

    def test_address_of_the_shadow_is_changed(self):
        ping(self.client, WAN.host4)
        self.router.ip("link", "set", "wan0", "address", "02:77:00:00:99:01")
        self.server.ip("neigh", "flush", "dev", "eth0")
        wait_ping(self.client, WAN.host4, 5)
        wait_ping(self.client, WAN.host6, 5)
        self.assertEqual(self.server.ip_json("neigh", "show", WAN.router4)[0]["lladdr"], "02:77:00:00:99:01")

    @unittest.skipIf(KERNEL, "about halfpoll")
    def test_every_port_vanishes(self):
        for host in (self.client, self.server, self.backup):
            host.ip("link", "del", "eth0")
        wait_for("all have failed", lambda: all(i["failure"] for i in self.lab.show("interfaces")), 5)
        self.assertEqual(self.lab.halfpoll("show", "interfaces").returncode, 0)
        self.assertIsNone(self.lab.process.poll())

    @unittest.skipIf(KERNEL, "about halfpoll")
    def test_port_whose_interface_is_taken_down(self):
        """The interface below AF_XDP is taken down and up again: the carrier goes, then traffic resumes."""
        ping(self.client, WAN.host4)
        self.router.ip("link", "set", WAN.port, "down")
        wait_for("no carrier on wan0", lambda: not self.lab.carrier("wan0"), 3)
        self.router.ip("link", "set", WAN.port, "up")
        wait_for("carrier on wan0", lambda: self.lab.carrier("wan0"), 3)
        wait_ping(self.client, WAN.host4, 3)
