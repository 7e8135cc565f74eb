# SPDX-License-Identifier: BSD-3-Clause
"""FRR in the router's namespace has two BGP neighbours. The sessions and their routes survive floods of every class of
packets to the kernel. HALFPOLL_BGP=long: 100,000 routes, and a minute for each class."""

import json
import os
import pathlib
import platform
import random
import signal
import socket
import sys
import unittest

from scapy.layers.inet import IP, TCP, UDP, Ether, IPOption_NOP
from scapy.layers.l2 import ARP
from scapy.packet import Raw

from bgp import FRR, Frr, Speaker, prefixes
from lab import KERNEL, NETWORKS, Lab, wait_for
from traffic import capture, ping

LONG = os.environ.get("HALFPOLL_BGP") == "long"
ROUTES = 100_000 if LONG else 20_000
SECONDS = 60 if LONG else 3
RATE = 500  # packets/s of each class
BURST = 200
LAN, WAN, ALT = NETWORKS["lan"], NETWORKS["wan"], NETWORKS["alt"]
ALT_MTU = 1300
# All with a limit; frames() has "kernel", too, whose only limit is the ring.
CLASSES = ("arp_nd", "routing", "local", "control", "resolve", "ttl", "too_big", "options", "no_route", "other")
STRANGER = "02:77:00:00:01:66"
KERNEL_NET = "192.0.2.0/24"  # routed over an interface that is no shadow
FRR_CONFIG = f"""
frr defaults traditional
log file {{folder}}/log
router bgp 65000
 bgp router-id {LAN.router4}
 no bgp ebgp-requires-policy
 no bgp network import-check
 timers bgp 3 9
 neighbor {LAN.host4} remote-as 65001
 neighbor {LAN.host4} passive
 neighbor {WAN.host4} remote-as 65002
 neighbor {WAN.host4} passive
"""


def ordinary(dst, length=60, **fields):
    """Returns a UDP packet from the first neighbour's link, but from another station and address."""
    link = Ether(src=STRANGER, dst=LAN.router_mac)
    return link / IP(src="10.77.1.66", dst=dst, **fields) / UDP(sport=9, dport=9) / Raw(bytes(length - 28))


def frames():
    """Returns the frame that floods each class."""
    mac, udp = STRANGER, ordinary
    link = Ether(src=mac, dst=LAN.router_mac)
    return {
        "arp_nd": Ether(src=mac, dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, hwsrc=mac, psrc="10.77.1.66", pdst=LAN.router4),
        "routing": link / IP(src="10.77.1.66", dst=LAN.router4) / TCP(sport=4000, dport=179, flags="S"),
        "local": udp(LAN.router4),
        "control": Ether(src=mac, dst="01:00:5e:00:00:4d") / IP(src="10.77.1.66", dst="224.0.0.77", ttl=1) / UDP(sport=9, dport=9),
        "resolve": udp("10.77.2.99"),
        "ttl": udp(WAN.host4, ttl=1),
        "too_big": udp(ALT.host4, length=1400, flags=2),
        "options": udp(WAN.host4, options=[IPOption_NOP()] * 4),
        "no_route": udp("203.0.113.1"),
        "kernel": udp("192.0.2.1"),
        "other": link.__class__(src=mac, dst=LAN.router_mac, type=0x88b5) / Raw(bytes(46)),
    }


@unittest.skipIf(KERNEL, "about halfpoll")
@unittest.skipUnless((FRR / "bgpd").exists(), "FRR is not installed (apt-get install frr)")
class Bgp(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        limits = "".join(f"\n[punt.{c}]\nrate = {RATE}\nburst = {BURST}\n" for c in CLASSES)
        cls.lab = Lab(("lan", "wan", "alt"), config=limits)
        cls.router = cls.lab.router
        cls.router.ip("link", "set", ALT.dev, "mtu", ALT_MTU)
        cls.router.ip("link", "add", "side0", "type", "veth", "peer", "name", "side1")
        for end in ("side0", "side1"):
            cls.router.ip("link", "set", end, "up")
        cls.router.ip("route", "add", KERNEL_NET, "dev", "side0")
        folder = cls.lab.folder / "frr"
        cls.frr = Frr(cls.router, folder, FRR_CONFIG.format(folder=folder))
        cls.speakers = [Speaker(cls.lab.client, LAN.host4, LAN.router4, 65001), Speaker(cls.lab.server, WAN.host4, WAN.router4, 65002)]

    @classmethod
    def tearDownClass(cls):
        for s in cls.speakers:
            s.stop()
        cls.frr.stop()
        cls.lab.stop()

    def test_session_survives_floods(self):
        signal.alarm((len(CLASSES) + 3) * (SECONDS + 5) + 300)  # replaces main.py's limit
        one, two = self.speakers
        two.announce(prefixes(ROUTES))
        wait_for(f"{ROUTES} routes at the other neighbour", lambda: one.learned >= ROUTES or one.down or two.down, 120)
        self.standing()
        wait_for("the routes in the forwarder", lambda: self.fib_size() >= ROUTES, 60)
        self.forwards()
        ping(self.router, ALT.host4)
        for name, frame in frames().items():
            with self.subTest(name):
                self.flood(name, bytes(frame))
        with self.subTest("TCP of the box"):
            passes = tuple(map(int, platform.release().split("-")[0].split(".")[:2])) >= (6, 6)  # inside the kernel
            to_box = Ether(src=STRANGER, dst=LAN.router_mac) / IP(src="10.77.1.66", dst=LAN.router4) / TCP(dport=9)
            self.flood("kernel" if passes else "local", bytes(to_box))
        with self.subTest("a rule"):
            self.flood_under_a_rule()
        self.assertEqual((one.withdrawn, one.learned), (0, ROUTES))
        self.forwards()

    def standing(self):
        self.assertEqual([s.down for s in self.speakers], [None, None])

    def fib_size(self):
        return int(self.router.run("sh", "-c", "ip route show proto bgp | wc -l").stdout)

    def ask(self, what):
        """Returns the rows of a table; a busy machine may delay the control socket."""
        def asked():
            done = self.lab.halfpoll("show", what, "--json", check=False)
            return json.loads(done.stdout)[what] if done.returncode == 0 else None
        return wait_for("halfpoll answers", asked, 30)

    def punt(self, name):
        row = next(row for row in self.ask("punt") if row["class"] == name)
        if name == "kernel":
            row["punted"] += sum(i["device"]["passed_in"] for i in self.ask("interfaces"))
        return row

    def wait_way(self, way):
        wait_for(f"IPv4 packets go the way {way}", lambda: {r["in"] for r in self.ask("policy") if r["family"] == "IPv4"} == {way}, 30)

    def flood(self, name, frame):
        before = self.punt(name)
        done = self.lab.client.run(sys.executable, pathlib.Path(__file__).with_name("flood.py"), "eth0", SECONDS, RATE * 20, frame.hex(),
                                   timeout=SECONDS + 30)
        after = self.punt(name)
        if name == "kernel":  # has no limit
            self.assertGreater(after["punted"] - before["punted"], RATE * SECONDS, f"that was no flood: {done.stdout.strip()} sent")
            self.assertEqual(after["policed"], 0)
        else:
            self.assertGreater(after["policed"], before["policed"], f"that was no flood: {done.stdout.strip()} sent")
        self.standing()
        for neighbour, state in self.frr.neighbours().items():
            self.assertEqual((state["bgpState"], state["connectionsDropped"]), ("Established", 0), neighbour)

    def flood_under_a_rule(self):
        """A rule, as a firewall would, hands over all that is forwarded, beside the sessions."""
        rule = ("from", "10.99.0.0/16", "lookup", "100")
        self.router.ip("rule", "add", *rule)
        self.wait_way("kernel")
        self.flood("kernel", bytes(ordinary(WAN.host4)))
        self.forwards()
        self.router.ip("rule", "del", *rule)
        self.wait_way("fast")
        self.forwards()

    def forwards(self):
        """Checks that packets to some of the routes reach the neighbour that announced them."""
        ping(self.lab.client, WAN.host4)
        wanted = [socket.inet_ntoa(p + b"\x07") for p in random.Random(1).sample(prefixes(ROUTES), 200)]
        link = Ether(src=LAN.host_mac, dst=LAN.router_mac)
        with self.lab.server.packets() as there, self.lab.client.packets() as here:
            for address in wanted:
                here.send(bytes(link / IP(src=LAN.host4, dst=address) / UDP(sport=9, dport=9) / b"halfpoll-test"))
            here.send(bytes(link / IP(src=LAN.host4, dst=WAN.host4) / UDP(sport=9, dport=9) / b"halfpoll-last"))
            got = capture(there, lambda f: b"halfpoll-test" in f, lambda f: b"halfpoll-last" in f)
        self.assertEqual(sorted(Ether(f)[IP].dst for f in got), sorted(wanted))
