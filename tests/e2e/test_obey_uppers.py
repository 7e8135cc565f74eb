# SPDX-License-Identifier: BSD-3-Clause
"""Interfaces on top of the router's own (macvlan, bridge), captures there, and an MTU that a port cannot have."""

import contextlib
import socket
import struct
import time
import unittest

from scapy.layers.inet import IP, UDP, Ether
from scapy.layers.l2 import ARP, Dot1Q

from lab import KERNEL, NETWORKS, Lab, Namespace, run, wait_for
from traffic import answers, ping, wait_ping

LAN, WAN = NETWORKS["lan"], NETWORKS["wan"]
VIRTUAL_MAC = "00:00:5e:00:01:01"  # of a VRRP router
VIRTUAL4, VIRTUAL6 = "10.77.1.254", "fd77:1::254"
STRANGER = "02:00:00:00:00:99"
BROADCAST = "ff:ff:ff:ff:ff:ff"
COUNT = 20
MARK = b"halfpoll-test"
LAST = b"halfpoll-last"
SOL_PACKET, PACKET_AUXDATA = 263, 8
TP_STATUS_VLAN_VALID = 1 << 4


def whole_frame(s, timeout):
    """Receives a frame from a packet socket with the outermost tag, which the kernel takes off and reports beside it.
    Returns None if it is one that the host itself sent."""
    s.settimeout(timeout)
    frame, more, _, address = s.recvmsg(65536, 64)
    if address[2] == socket.PACKET_OUTGOING:
        return None
    for _, kind, data in more:
        status, _, _, _, _, tci, tpid = struct.unpack("IIIHHHH", data[:20])
        if kind == PACKET_AUXDATA and status & TP_STATUS_VLAN_VALID:
            frame = frame[:12] + struct.pack(">HH", tpid, tci) + frame[12:]
    return frame


def collect(s, wanted, until, timeout=50):
    """As traffic.capture(), with all tags."""
    s.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    end, got = time.monotonic() + timeout, []
    while True:
        frame = whole_frame(s, max(0.01, end - time.monotonic()))
        if frame is not None and until in frame:
            return got
        if frame is not None and wanted in frame:
            got.append(frame)


def udp(dst=WAN.host4, payload=MARK):
    return IP(src=LAN.host4, dst=dst) / UDP(sport=9, dport=9) / payload


class Uppers(unittest.TestCase):
    def setUp(self):
        self.lab = Lab(("lan", "wan"))
        self.client, self.server, self.router = self.lab.client, self.lab.server, self.lab.router
        self.addCleanup(self.lab.stop)

    def add_link(self, *words):
        """Adds an interface in the router's namespace, or skips the test."""
        done = self.router.run("ip", "link", "add", *words, check=False)
        if done.returncode:
            self.skipTest(f"ip link add {' '.join(words)}: {done.stdout.strip()}")

    def use_virtual_router(self):
        """The client sends to the virtual router's link address."""
        self.client.ip("neigh", "replace", VIRTUAL4, "lladdr", VIRTUAL_MAC, "dev", "eth0")
        self.client.ip("neigh", "replace", VIRTUAL6, "lladdr", VIRTUAL_MAC, "dev", "eth0")
        self.client.ip("route", "replace", "default", "via", VIRTUAL4)
        self.client.ip("-6", "route", "replace", "default", "via", VIRTUAL6, "dev", "eth0")

    def test_macvlan_on_a_shadow(self):
        """As keepalived's use_vmac makes it: what is sent to the virtual router's link address is answered and
        forwarded, and the shadow's own address works as before."""
        self.add_link("vrrp0", "link", "lan0", "address", VIRTUAL_MAC, "type", "macvlan", "mode", "bridge")
        self.use_virtual_router()
        self.router.ip("addr", "add", VIRTUAL4 + "/32", "dev", "vrrp0")
        self.router.ip("addr", "add", VIRTUAL6 + "/128", "dev", "vrrp0", "nodad")
        self.assertFalse(answers(self.client, WAN.host4), "the macvlan is down")
        self.router.ip("link", "set", "vrrp0", "up")
        self.router.ip("addr", "replace", VIRTUAL6 + "/128", "dev", "vrrp0", "nodad")
        for address in (VIRTUAL4, WAN.host4, VIRTUAL6, WAN.host6):
            wait_ping(self.client, address, 5)
            ping(self.client, address, count=10, interval=0.01)
        if not KERNEL:
            before = self.lab.left_to_kernel()
            self.client.ip("route", "replace", "default", "via", LAN.router4)
            ping(self.client, WAN.host4, count=10, interval=0.01)
            self.assertEqual(self.lab.left_to_kernel(), before, "what is sent to the shadow's own address")
            self.use_virtual_router()
        self.router.ip("link", "del", "vrrp0")
        wait_for("nobody has the address any more", lambda: not answers(self.client, WAN.host4), 5)

    def test_macvlan_of_a_container(self):
        """The macvlan is in another namespace, from the beginning or moved there."""
        container = Namespace(f"{self.lab.number}-container")
        self.addCleanup(container.remove)
        self.add_link("mv0", "link", "lan0", "netns", container.name, "type", "macvlan", "mode", "bridge")
        self.add_link("mv1", "link", "lan0", "type", "macvlan", "mode", "private")
        self.router.ip("link", "set", "mv1", "netns", container.name)
        for dev, number in (("mv0", 100), ("mv1", 101)):
            container.ip("link", "set", dev, "up")
            container.ip("addr", "add", f"10.77.1.{number}/24", "dev", dev)
            wait_ping(self.client, f"10.77.1.{number}", 5)
            container.ip("link", "set", dev, "down")
            wait_for("no answer", lambda n=number: not answers(self.client, f"10.77.1.{n}"), 5)
        ping(self.client, WAN.host4)

    def test_macvlan_that_takes_the_shadow(self):
        """Mode passthru: all frames belong to the macvlan, which has the shadow's link address."""
        self.add_link("all0", "link", "lan0", "type", "macvlan", "mode", "passthru")
        self.router.ip("addr", "flush", "dev", "lan0")
        self.assertFalse(answers(self.client, LAN.router4), "the macvlan is down")
        self.router.ip("link", "set", "all0", "up")
        self.router.ip("addr", "add", LAN.router4 + "/24", "dev", "all0")
        wait_ping(self.client, LAN.router4, 5)
        wait_ping(self.client, WAN.host4, 5)
        self.router.ip("link", "del", "all0")
        self.lab.configure()
        wait_ping(self.client, WAN.host4, 5)

    def test_capture_sees_frames_to_others(self):
        """A promiscuous interface shows what passes to other stations; nothing of it is forwarded."""
        frames = [Ether(src=LAN.host_mac, dst=STRANGER) / udp(),
                  Ether(src=LAN.host_mac, dst=STRANGER) / Dot1Q(vlan=6, prio=3) / udp(),
                  Ether(src=LAN.host_mac, dst=LAN.router_mac) / Dot1Q(vlan=7) / udp()]
        probe = Ether(src=LAN.host_mac, dst=STRANGER) / udp(payload=MARK + b"0")
        self.router.ip("link", "set", "lan0", "promisc", "on")
        with self.router.packets("lan0") as there, self.client.packets() as here, self.server.packets() as beyond:
            there.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
            wait_for("the capture sees frames to others", lambda: self.seen(here, there, probe), 5)
            for frame in frames * COUNT:
                here.send(bytes(frame))
            here.send(bytes(Ether(src=LAN.host_mac, dst=BROADCAST) / Dot1Q(vlan=7) / udp(payload=LAST)))
            got = collect(there, MARK, LAST)
            for frame in frames:
                self.assertEqual(sum(f == bytes(frame) for f in got), COUNT, frame.summary())
            here.send(bytes(Ether(src=LAN.host_mac, dst=LAN.router_mac) / udp(payload=LAST)))
            self.assertEqual(collect(beyond, MARK, LAST), [])
        self.router.ip("link", "set", "lan0", "promisc", "off")
        ping(self.client, WAN.host4)

    def seen(self, here, there, frame):
        here.send(bytes(frame))
        with contextlib.suppress(socket.timeout):
            while True:
                if MARK in (whole_frame(there, 0.1) or b""):
                    return True
        return False

    def bridge(self, *options):
        """Makes a bridge of both ports."""
        self.add_link("br0", "type", "bridge", *options)
        for net in (LAN, WAN):
            self.router.ip("addr", "flush", "dev", net.dev)
            self.router.ip("link", "set", net.dev, "master", "br0")
        self.router.ip("link", "set", "br0", "up")

    def bridged(self, frames, last):
        """Sends `last` from the client until it arrives at the server, then each frame COUNT times; returns what
        arrives. `last` is tagged: the untagged frames of a burst go first."""
        with self.client.packets() as here, self.server.packets() as there:
            there.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
            wait_for("the bridge forwards", lambda: self.seen(here, there, last), 5)
            for frame in frames * COUNT:
                here.send(bytes(frame))
            here.send(bytes(last).replace(MARK, LAST))
            return collect(there, MARK, LAST)

    def test_tagged_frames_through_a_bridge(self):
        self.bridge()
        link = Ether(src=LAN.host_mac, dst=WAN.host_mac)
        frames = [link / Dot1Q(vlan=6, prio=5) / udp(),
                  link / Dot1Q(vlan=0, prio=7) / udp(),
                  Ether(src=LAN.host_mac, dst=WAN.host_mac, type=0x88A8) / Dot1Q(vlan=9, type=0x8100) / Dot1Q(vlan=6) / udp(),
                  link / Dot1Q(vlan=6) / Dot1Q(vlan=7) / Dot1Q(vlan=8) / udp(),
                  link / Dot1Q(vlan=6) / udp(payload=MARK + bytes(1472 - len(MARK))),
                  Ether(src=LAN.host_mac, dst=BROADCAST) / Dot1Q(vlan=6) / ARP(psrc=LAN.host4, pdst=WAN.host4) / MARK,
                  Ether(src=LAN.host_mac, dst=STRANGER) / Dot1Q(vlan=4094) / udp(),
                  link / udp()]
        got = self.bridged(frames, link / Dot1Q(vlan=6) / udp())
        for frame in frames:
            self.assertEqual(sum(f == bytes(frame) for f in got), COUNT, frame.summary())
        self.router.ip("link", "del", "br0")
        self.lab.configure()
        wait_ping(self.client, WAN.host4, 5)

    def test_vlan_aware_bridge(self):
        """VLAN 6 is tagged on both ports; VLAN 7 is tagged on the one and untagged on the other; 8 is not allowed."""
        self.bridge("vlan_filtering", "1")
        for dev, vid, *options in (("lan0", 6), ("wan0", 6), ("lan0", 7), ("wan0", 7, "untagged")):
            run("bridge", "-n", self.router.name, "vlan", "add", "dev", dev, "vid", vid, *options)
        link = Ether(src=LAN.host_mac, dst=WAN.host_mac)
        frames = [link / Dot1Q(vlan=vlan) / udp(payload=MARK + str(vlan).encode()) for vlan in (6, 7, 8)]
        got = self.bridged(frames, link / Dot1Q(vlan=6) / udp())
        for expected, count in ((bytes(frames[0]), COUNT), (bytes(frames[1])[:12] + bytes(frames[1])[16:], COUNT),
                                (bytes(frames[2]), 0)):
            self.assertEqual(sum(f == expected for f in got), count)

    @unittest.skipIf(KERNEL, "about the port of a shadow")
    def test_an_mtu_that_the_port_cannot_have(self):
        """The shadow gets the port's MTU back; a packet of that length passes, a longer one is refused by the sender."""
        def both():
            return (self.router.ip_json("link", "show", "dev", "lan0")[0]["mtu"], self.lab.interface("lan")["mtu"])
        ping(self.client, WAN.host4)
        for wanted, present in ((2000, 1500), (1600, 1600), (9000, 1600), (1400, 1400)):
            self.router.ip("link", "set", "lan0", "mtu", wanted)
            if wanted == present:
                wait_for(f"the port follows to {present}", lambda p=present: both() == (p, p), 5)
            else:
                wait_for(f"an MTU of {wanted} is refused", lambda w=wanted: f"an MTU of {w} is not possible" in self.lab.output(), 5)
                wait_for(f"both have {present} again", lambda p=present: both() == (p, p), 5)
            wait_ping(self.client, WAN.host4, 5)
        for refused in (2000, 9000):
            self.assertEqual(self.lab.output().count(f"an MTU of {refused} is not possible"), 1)
        self.assertEqual(both(), (1400, 1400))
