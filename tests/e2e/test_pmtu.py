# SPDX-License-Identifier: BSD-3-Clause
"""An egress with a smaller MTU: path MTU discovery, fragmentation, and the shadow's MTU as that of the port."""

import pathlib
import unittest

from scapy.layers.inet import IP, UDP, Ether, fragment
from scapy.layers.inet6 import ICMPv6ND_RA, ICMPv6NDOptMTU, IPv6
from scapy.packet import Raw

from lab import FAR6, FAR6_NET, KERNEL, NETWORKS, Lab, wait_for
from traffic import capture, ping, transfer, udp_echo

LAN, WAN = NETWORKS["lan"], NETWORKS["wan"]
MTU = 1400


class Pmtu(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab(("lan", "wan"))
        cls.client, cls.server, cls.router = cls.lab.client, cls.lab.server, cls.lab.router
        cls.router.ip("link", "set", WAN.dev, "mtu", MTU)
        cls.server.ip("link", "set", "eth0", "mtu", MTU)

    @classmethod
    def tearDownClass(cls):
        cls.lab.stop()

    def setUp(self):
        self.client.ip("route", "flush", "cache")
        self.client.ip("-6", "route", "flush", "cache")
        if not KERNEL:
            wait_for("the port takes the MTU of its shadow", lambda: self.port_mtu("wan") == MTU)

    def port_mtu(self, name):
        return self.lab.interface(name)["mtu"]

    def test_dont_fragment_is_refused_with_the_mtu(self):
        for address, size in ((WAN.host4, 1472), (WAN.host6, 1452)):
            with self.subTest(address):
                done = self.client.run("ping", "-n", "-c", 3, "-i", 0.2, "-W", 10, "-M", "do", "-s", size, address, check=False)
                self.assertNotEqual(done.returncode, 0, done.stdout)
                self.assertRegex(done.stdout, rf"mtu ?= ?{MTU}")

    def test_largest_that_fits_passes(self):
        for address, headers in ((WAN.host4, 28), (WAN.host6, 48)):
            ping(self.client, address, "-M", "do", "-s", MTU - headers)

    def test_fragmentation_where_it_is_allowed(self):
        """IPv4 without DF: the slow path fragments packets; the sender's own fragments pass unchanged."""
        ping(self.client, WAN.host4, "-M", "dont", "-s", 1472, count=3)
        ping(self.client, WAN.host4, "-M", "dont", "-s", 5000, count=3)

    def test_fragments_pass_unchanged(self):
        packet = IP(src=LAN.host4, dst=WAN.host4, id=4242) / UDP(sport=7, dport=7, chksum=0) / Raw(bytes(range(256)) * 12)
        pieces = fragment(packet, fragsize=1000)
        link = Ether(src=LAN.host_mac, dst=LAN.router_mac)
        ping(self.client, WAN.host4)
        with self.server.packets() as there, self.client.packets() as here:
            for piece in pieces:
                here.send(bytes(link / piece))
            here.send(bytes(link / IP(src=LAN.host4, dst=WAN.host4) / UDP(sport=9, dport=9) / b"halfpoll-last"))
            got = capture(there, lambda f: f[18:20] == (4242).to_bytes(2, "big"), lambda f: b"halfpoll-last" in f)
        self.assertEqual([(Ether(f)[IP].frag, int(Ether(f)[IP].flags)) for f in got], [(p.frag, int(p.flags)) for p in pieces])

    def test_tcp_finds_the_mtu(self):
        for address in (WAN.host4, WAN.host6):
            transfer(self.client, self.server, address, 8 << 20)

    def test_ipv6_sender_fragments_after_packet_too_big(self):
        with udp_echo(self.server, WAN.host6), self.client.udp(LAN.host6, timeout=1) as s:
            data = bytes(1452)

            def answered():
                s.sendto(data, (WAN.host6, 7000))
                try:
                    return s.recv(65536) == data
                except OSError:
                    return False

            self.assertFalse(answered(), "the first one is longer than the path takes")
            wait_for("later ones are cut to fit", answered, 5)

    def test_mtu_follows_the_shadow_up_and_down(self):
        for mtu in (1280, 1500, MTU):
            self.router.ip("link", "set", WAN.dev, "mtu", mtu)
            self.client.ip("route", "flush", "cache")
            if not KERNEL:
                wait_for(f"mtu {mtu} at the port", lambda m=mtu: self.port_mtu("wan") == m)
            self.server.ip("link", "set", "eth0", "mtu", mtu)
            ping(self.client, WAN.host4, "-M", "do", "-s", mtu - 28)
            if mtu < 1500:
                done = self.client.run("ping", "-n", "-c", 1, "-W", 10, "-M", "do", "-s", mtu - 27, WAN.host4, check=False)
                self.assertRegex(done.stdout, rf"mtu ?= ?{mtu}")


class Ipv6Mtu(unittest.TestCase):
    """IPv6 has an MTU of its own on each interface, however it is set. The MTU of a route counts too, locked or not."""

    def setUp(self):
        self.lab = Lab(("lan", "wan"))
        self.client, self.server, self.router = self.lab.client, self.lab.server, self.lab.router
        self.addCleanup(self.lab.stop)

    def echo(self, address, size):
        """Returns ping's output about one packet of that size that must not be fragmented."""
        self.client.ip("-6", "route", "flush", "cache")
        return self.client.run("ping", "-n", "-c", 1, "-W", 1, "-M", "do", "-s", size - 48, address, check=False).stdout

    def passes_up_to(self, address, mtu):
        for size in {mtu + 1, min(mtu + 88, 1500)}:
            wait_for(f"{size} bytes are refused with {mtu}", lambda s=size: f"mtu={mtu}" in self.echo(address, s).replace(": ", "="), 20)
        ping(self.client, address, "-M", "do", "-s", mtu - 48)

    def test_by_sysctl(self):
        for mtu in (1400, 1300, 1450):
            self.router.sysctl(ipv6__conf__wan0__mtu=mtu)
            self.passes_up_to(WAN.host6, mtu)
            ping(self.client, WAN.host4, "-M", "do", "-s", 1472)
        self.router.ip("link", "set", WAN.dev, "mtu", 1490)
        self.passes_up_to(WAN.host6, 1490)

    def test_by_router_advertisement(self):
        self.router.sysctl(ipv6__conf__wan0__accept_ra=2)
        source = next(a["local"] for a in self.server.ip_json("-6", "addr", "show", "dev", "eth0")[0]["addr_info"]
                      if a["scope"] == "link")
        frame = bytes(Ether(src=WAN.host_mac, dst="33:33:00:00:00:01") / IPv6(src=source, dst="ff02::1", hlim=255)
                      / ICMPv6ND_RA(routerlifetime=0) / ICMPv6NDOptMTU(mtu=1350))
        setting = pathlib.Path("/proc/sys/net/ipv6/conf/wan0/mtu")

        def taken():
            with self.server.packets() as s:
                s.send(frame)
            with self.router:
                return setting.read_text(encoding="ascii") == "1350\n"

        wait_for("the router takes the MTU", taken, 10, 0.2)
        self.passes_up_to(WAN.host6, 1350)

    def test_of_a_route(self):
        for lock in ((), ("lock",)):
            self.router.ip("route", "replace", FAR6_NET, "via", WAN.host6, "mtu", *lock, 1300)
            self.passes_up_to(FAR6, 1300)
