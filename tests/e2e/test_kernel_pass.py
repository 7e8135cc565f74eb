# SPDX-License-Identifier: BSD-3-Clause
"""What the kernel forwards does not leave it: from an AF_XDP port to its shadow, and from the shadow to the port."""

import contextlib
import ctypes
import json
import platform
import signal
import socket
import struct
import unittest

from scapy.layers.inet import ICMP, IP, TCP, UDP, Ether
from scapy.layers.inet6 import ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6
from scapy.packet import Raw

from lab import KERNEL, NETWORKS, Lab, wait_for
from traffic import capture, ping, transfer, wait_ping

LAN, WAN = NETWORKS["lan"], NETWORKS["wan"]
NFT = "table {} t {{ chain c {{ type filter hook forward priority 0; counter; }}; }}"
MARK, LAST = b"halfpoll-test", b"halfpoll-last"
LAN_LINK = Ether(src=LAN.host_mac, dst=LAN.router_mac)
SETTING = "\n[forward]\nkernel_pass = {}\n"

SYS_BPF, PROG_QUERY, TCX_INGRESS, TCX_EGRESS = 321, 16, 46, 47  # x86-64


def tcx_programs(host, dev):
    """Number of the tcx programs of an interface."""
    total = 0
    with host:
        for where in (TCX_INGRESS, TCX_EGRESS):
            query = struct.pack("=IIIIQI", socket.if_nametoindex(dev), where, 0, 0, 0, 0)
            attr = ctypes.create_string_buffer(query, 64)
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.syscall(SYS_BPF, PROG_QUERY, attr, len(attr)) != 0:
                raise OSError(ctypes.get_errno(), f"programs of {dev}")
            total += struct.unpack_from("=I", attr, 24)[0]
    return total


def waiting(packets):
    """Returns the frames that wait in a packet socket."""
    packets.settimeout(0)
    frames = []
    with contextlib.suppress(BlockingIOError):
        while True:
            frames.append(packets.recv(65536))
    return frames


@unittest.skipIf(KERNEL, "about halfpoll")
class KernelPass(unittest.TestCase):
    def setUp(self):
        self.lab = Lab(("lan", "wan"))
        self.addCleanup(self.lab.stop)
        self.client, self.server, self.router = self.lab.client, self.lab.server, self.lab.router
        for address in (WAN.host4, WAN.host6):
            ping(self.client, address)
        self.router.run("nft", NFT.format("inet"))
        if tuple(map(int, platform.release().split("-")[0].split(".")[:2])) < (6, 6):
            self.skipTest("this kernel has no tcx (Linux 6.6)")
        self.wait_passes(True)

    def passes(self):
        """(interface, family) of those whose packets pass."""
        return {(row["interface"], row["family"]) for row in self.lab.show("policy") if row["passes"]}

    def wait_passes(self, on, devices=("lan0", "wan0"), families=("IPv4", "IPv6")):
        wanted = {(dev, family) for dev in devices for family in families} if on else set()
        wait_for(f"these pass: {wanted}", lambda: self.passes() == wanted)

    def counts(self):
        """Of both ports: packets that passed in and out, and that went through the shadows in either direction."""
        passed = [i["device"] for i in self.lab.show("interfaces")]
        shadows = self.shadows()
        return (sum(d["passed_in"] for d in passed), sum(d["passed_out"] for d in passed),
                sum(s["to_kernel"] for s in shadows), sum(s["from_kernel"] for s in shadows))

    def shadows(self):
        return json.loads(self.lab.halfpoll("show", "punt", "--json").stdout)["shadows"]

    def moved(self, action):
        """Runs an action and returns by how much counts() grew."""
        before = self.counts()
        action()
        return tuple(b - a for a, b in zip(before, self.counts()))

    def send(self, *packets):
        """Sends packets from the client through the router; returns what arrives at the server."""
        with self.client.packets() as here, self.server.packets() as there:
            for packet in packets:
                here.send(bytes(LAN_LINK / packet / Raw(MARK)))
            here.send(bytes(LAN_LINK / IP(src=LAN.host4, dst=WAN.host4) / UDP(sport=9, dport=9) / Raw(LAST)))
            return [Ether(f) for f in capture(there, lambda f: MARK in f, lambda f: LAST in f)]

    def test_packets_pass_in_both_directions(self):
        for source, target in ((LAN.host4, WAN.host4), (LAN.host6, WAN.host6)):
            with self.subTest(target):
                ip = IP if "." in target else IPv6
                packets = [ip(src=source, dst=target) / UDP(sport=7, dport=7 + i) for i in range(20)]
                got = []
                passed_in, passed_out, to_kernel, from_kernel = self.moved(lambda: got.extend(self.send(*packets)))
                self.assertEqual([f[UDP].dport for f in got], [7 + i for i in range(20)])
                self.assertGreaterEqual(passed_in, 21)
                self.assertGreaterEqual(passed_out, 21)
                self.assertLess(to_kernel + from_kernel, 10, "neighbour discovery, at most")
        self.assertIn("counter packets", self.router.run("nft", "list", "ruleset").stdout)

    def test_a_stream_is_merged_and_segmented_by_the_kernel(self):
        size = 4 << 20
        for target in (WAN.host4, WAN.host6):
            passed_in, passed_out, _, _ = self.moved(lambda to=target: transfer(self.client, self.server, to, size))
            self.assertGreaterEqual(passed_in, size // 1460)
            self.assertGreaterEqual(passed_out, size // 1460)
        transfer(self.client, self.router, LAN.router4, size)
        transfer(self.router, self.client, LAN.host4, size)

    def test_tcp_of_the_box_on_an_open_interface(self):
        """TCP to an address of the box passes as long as it is one; other packets to the box stay policed."""
        self.router.run("nft", "flush", "ruleset")
        self.wait_passes(False)
        size = 4 << 20
        for target in (LAN.router4, LAN.router6, WAN.router4, WAN.router6):
            with self.subTest(target):
                passed_in, *_ = self.moved(lambda to=target: transfer(self.client, self.router, to, size))
                self.assertGreaterEqual(passed_in, size // 1460)
        before = self.lab.punts()["local"]
        self.assertEqual(self.moved(lambda: ping(self.client, LAN.router4, count=5, interval=0.01))[0], 0)
        self.assertGreaterEqual(self.lab.punts()["local"] - before, 5)
        added = IP(src=LAN.host4, dst="203.0.113.9") / TCP(sport=7, dport=7)
        self.router.ip("addr", "add", "203.0.113.9/32", "dev", "wan0")
        wait_for("TCP to a new address passes", lambda: self.moved(lambda: self.send(added))[0] == 1)
        self.router.ip("addr", "del", "203.0.113.9/32", "dev", "wan0")
        self.router.ip("route", "add", "203.0.113.9", "via", WAN.host4)
        wait_for("TCP to it is forwarded", lambda: len(self.send(added)) == 1)
        self.assertEqual(self.moved(lambda: self.send(added))[0], 0)

    def test_routing_protocols_keep_their_way(self):
        """BGP, OSPF, ARP and neighbour discovery have a place of their own in the ring of the slow path."""
        before = self.lab.punts()
        packets = [IP(src=LAN.host4, dst=LAN.router4) / TCP(sport=4000, dport=179),
                   IP(src=LAN.host4, dst=LAN.router4) / TCP(sport=179, dport=4000),
                   IP(src=LAN.host4, dst=LAN.router4) / UDP(sport=4000, dport=3784),
                   IP(src=LAN.host4, dst=LAN.router4, proto=89),
                   IPv6(src=LAN.host6, dst=LAN.router6) / TCP(sport=4000, dport=179),
                   IPv6(src=LAN.host6, dst=LAN.router6, nh=112)]
        solicitation = (IPv6(src=LAN.host6, dst=LAN.router6, hlim=255) / ICMPv6ND_NS(tgt=LAN.router6) /
                        ICMPv6NDOptSrcLLAddr(lladdr=LAN.host_mac))
        passed_in, *_ = self.moved(lambda: self.send(*packets, solicitation))
        after = self.lab.punts()
        self.assertEqual(after["routing"] - before["routing"], len(packets))
        self.assertGreaterEqual(after["arp_nd"] - before["arp_nd"], 1)
        self.assertLessEqual(passed_in, 3, "only the last packet, and errors about the others")

    def test_fragments_and_short_packets(self):
        """A packet passes whatever its length, and every fragment of it arrives."""
        first = IP(src=LAN.host4, dst=WAN.host4, id=77, flags="MF", proto=17) / Raw(b"\0\x07\0\x07" + b"\0" * 20)
        later = IP(src=LAN.host4, dst=WAN.host4, id=77, frag=3, proto=17)
        got = self.send(first, later, IP(src=LAN.host4, dst=WAN.host4) / ICMP())
        self.assertEqual(sorted((f[IP].frag, f[IP].proto) for f in got), [(0, 1), (0, 17), (3, 17)])

    def test_one_family(self):
        self.router.run("nft", "flush", "ruleset")
        self.wait_passes(False)
        self.router.run("nft", NFT.format("ip6"))
        self.wait_passes(True, families=("IPv6",))
        before = self.lab.left_to_kernel()
        ping(self.client, WAN.host4, count=5, interval=0.01)
        self.assertEqual(self.lab.left_to_kernel(), before)
        passed_in, *_ = self.moved(lambda: ping(self.client, WAN.host6, count=5, interval=0.01))
        self.assertGreaterEqual(passed_in, 10)

    def test_what_a_shadow_does_to_its_packets_is_done(self):
        """A queueing discipline, a capture, and a filter of the shadow see what it sends."""
        shaper = ("tbf", "rate", "1gbit", "burst", "64kb", "latency", "1s")
        self.router.run("tc", "qdisc", "add", "dev", "wan0", "root", *shaper)
        wait_for("packets to wan0 go through it", lambda: self.from_kernel("wan0") >= 5)
        sent = self.router.run("tc", "-s", "qdisc", "show", "dev", "wan0").stdout
        self.assertNotIn("Sent 0 bytes", sent)
        self.router.run("tc", "qdisc", "del", "dev", "wan0", "root")
        wait_for("they pass again", lambda: self.from_kernel("wan0") == 0)
        with self.router.packets("wan0") as seen:
            self.router.ip("link", "set", "wan0", "promisc", "on")
            wait_for("packets to wan0 go through the shadow", lambda: self.from_kernel("wan0") >= 5)
            ping(self.client, WAN.host4, "-p", MARK.hex())
            self.assertEqual(sum(MARK in frame for frame in waiting(seen)), 2, "the request and the answer")

    def from_kernel(self, dev):
        """How many of five packets the slow path reads from a shadow."""
        def count():
            return next(s["from_kernel"] for s in self.shadows() if s["shadow"] == dev)
        before = count()
        ping(self.client, WAN.host4, count=5, interval=0.01)
        return count() - before

    def test_a_bridge_of_shadows(self):
        self.router.run("nft", "flush", "ruleset")
        self.wait_passes(False)
        self.router.ip("link", "add", "br0", "type", "bridge")
        self.router.ip("link", "set", "br0", "up")
        for dev in ("lan0", "wan0"):
            self.router.ip("addr", "flush", "dev", dev)
            self.router.ip("link", "set", dev, "master", "br0")
        self.wait_passes(True)
        self.client.ip("addr", "add", "10.99.0.1/24", "dev", "eth0")
        self.server.ip("addr", "add", "10.99.0.2/24", "dev", "eth0")
        ping(self.client, "10.99.0.2")
        passed_in, _, to_kernel, from_kernel = self.moved(
            lambda: transfer(self.client, self.server, "10.99.0.2", 1 << 20))
        self.assertGreaterEqual(passed_in, (1 << 20) // 1460)
        self.assertLess(to_kernel, 20, "a few group addresses")
        self.assertGreater(from_kernel, 0, "a bridge makes its ports promiscuous, as a capture does")

    def test_another_interface(self):
        """A shadow that is deleted comes back under another number, and a renamed one stays."""
        self.router.ip("link", "set", "lan0", "down")
        self.router.ip("link", "set", "lan0", "name", "inside")
        self.router.ip("link", "set", "inside", "up")
        self.wait_passes(True, devices=("inside", "wan0"))
        wait_ping(self.router, LAN.host4, 10)
        self.router.ip("link", "del", "wan0")
        up = ("ip", "link", "set", "wan0", "up")
        wait_for("wan0 is there again", lambda: self.router.run(*up, check=False).returncode == 0)
        self.router.ip("addr", "replace", WAN.router4 + "/24", "dev", "wan0")
        self.wait_passes(True, devices=("inside", "wan0"))
        wait_ping(self.client, WAN.host4, 10)
        passed_in, *_ = self.moved(lambda: ping(self.client, WAN.host4, count=5, interval=0.01))
        self.assertGreaterEqual(passed_in, 10)

    def test_forbidden_by_configuration(self):
        self.assertIn("kernel_pass: true -> false", self.reload(False))
        self.wait_passes(False)
        passed = self.moved(lambda: ping(self.client, WAN.host4, count=5, interval=0.01))
        self.assertEqual(passed[:2], (0, 0))
        self.reload(True)
        self.wait_passes(True)

    def reload(self, on):
        path = self.lab.folder / "halfpoll.toml"
        self.lab.extra_config = SETTING.format(str(on).lower())
        path.write_text(self.lab.config(), encoding="utf-8")
        return self.lab.halfpoll("reload").stdout

    def test_nothing_is_left_behind(self):
        """Neither the end nor the death of the process leaves a program on an interface."""
        self.assertEqual([tcx_programs(self.router, dev) for dev in ("p-lan", "lan0")], [1, 1])
        for number in (signal.SIGTERM, signal.SIGKILL):
            self.lab.signal(number)
            self.assertNotIn("prog/xdp", self.router.run("ip", "-d", "link").stdout)
            for link in self.router.ip_json("link"):
                self.assertEqual(tcx_programs(self.router, link["ifname"]), 0, link["ifname"])
            self.lab.start()
            self.lab.configure()
            self.wait_passes(True)


if __name__ == "__main__":
    unittest.main()
