# SPDX-License-Identifier: BSD-3-Clause
"""What IPsec policies, queueing disciplines and filters of the kernel do to forwarded packets, halfpoll does not
undo: the same packets arrive as with the kernel as the router. Without them packets go by the fast path again."""

import contextlib
import json
import unittest

from scapy.layers.inet import IP, UDP, Ether
from scapy.layers.inet6 import IPv6

from lab import FAR4, FAR4_NET, FAR6, FAR6_NET, KERNEL, NETWORKS, Lab, wait_for
from traffic import capture, ping

LAN, WAN = NETWORKS["lan"], NETWORKS["wan"]
VERSIONS = (4, 6)
FAR = {4: FAR4, 6: FAR6}
FAR_NET = {4: FAR4_NET, 6: FAR6_NET}
LAN_NET = {4: "10.77.1.0/24", 6: "fd77:1::/64"}
ROUTER = {4: WAN.router4, 6: WAN.router6}
HOST = {4: WAN.host4, 6: WAN.host6}
MARK, LAST = b"halfpoll-obey-mark", b"obey-last-packet"
PACKETS = 50
CIPHER = ("enc", "cbc(aes)", "0x00112233445566778899aabbccddeeff",
          "auth", "hmac(sha256)", "0x" + "0123456789abcdef" * 4)

# Programs of classic BPF that drop (TC_ACT_SHOT, 2) what goes to FAR4 or FAR6, and leave the rest to what follows
# (TC_ACT_UNSPEC, -1). They compare the EtherType, then the destination; of FAR6, its first and last word.
DROP = {4: "6,40 0 0 12,21 0 2 2048,32 0 0 30,21 1 0 3325256705,6 0 0 4294967295,6 0 0 2",
        6: "8,40 0 0 12,21 0 4 34525,32 0 0 38,21 0 2 536939960,32 0 0 50,21 1 0 1,6 0 0 4294967295,6 0 0 2"}


class Obey(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab(("lan", "wan"))
        cls.client, cls.server, cls.router = cls.lab.client, cls.lab.server, cls.lab.router
        cls.router.ip("route", "add", FAR4_NET, "via", WAN.host4)
        cls.router.ip("-6", "route", "add", FAR6_NET, "via", WAN.host6)

    @classmethod
    def tearDownClass(cls):
        cls.lab.stop()

    def setUp(self):
        for version in VERSIONS:
            self.free(version)

    def send(self, version, size=400):
        """Sends packets from the client to FAR. They have left the router when this returns, if they leave it."""
        ip = IP(src=LAN.host4, dst=FAR4) if version == 4 else IPv6(src=LAN.host6, dst=FAR6)
        link = Ether(src=LAN.host_mac, dst=LAN.router_mac)
        frame = bytes(link / ip / UDP(sport=9, dport=9) / (MARK + bytes(size)))
        with self.client.packets() as here:
            for _ in range(PACKETS):
                here.send(frame)
        ping(self.client, LAN.router4)  # through the slow path, after packets that went there

    def received(self, version, wanted=lambda f: MARK in f):
        """Returns the frames that reach the server when packets are sent. A packet of the router itself ends them."""
        with self.server.packets() as there:
            self.send(version)
            ping(self.router, HOST[version], "-p", LAST.hex())
            return capture(there, wanted, lambda f: LAST in f)

    def by_kernel(self):
        return 0 if KERNEL else self.lab.left_to_kernel()

    def by_fast_path(self, version):
        """True if all packets arrive, and the kernel forwards at most the answers to ping() among them."""
        before = self.by_kernel()
        return len(self.received(version)) == PACKETS and self.by_kernel() - before < PACKETS // 2

    def free(self, version):
        """Waits until packets go by the fast path (with the kernel as the router: until they arrive)."""
        ping(self.client, HOST[version])
        wait_for(f"IPv{version} packets go by the fast path", lambda: self.by_fast_path(version))

    def stays_free(self, version):
        for _ in range(5):
            self.assertTrue(self.by_fast_path(version))

    def blocked(self, version):
        """Waits until none arrives; then none of many does."""
        wait_for(f"no IPv{version} packet arrives", lambda: not self.received(version))
        for _ in range(3):
            self.assertEqual(self.received(version), [])

    @contextlib.contextmanager
    def done(self, *command, undo):
        done = self.router.run(*command, check=False)
        if done.returncode:
            self.skipTest(f"this kernel cannot: {' '.join(map(str, command))}: {done.stdout.strip()}")
        try:
            yield
        finally:
            self.router.run(*undo)

    def policy(self, version, direction, *what, key=()):
        selector = ("src", LAN_NET[version], "dst", FAR_NET[version], "dir", direction, *key)
        return self.done("ip", "xfrm", "policy", "add", *selector, *what,
                         undo=("ip", "xfrm", "policy", "delete", *selector))

    def test_xfrm_policy_blocks(self):
        for version in VERSIONS:
            for direction in ("fwd", "out"):
                with self.subTest(version=version, direction=direction):
                    with self.policy(version, direction, "action", "block"):
                        self.blocked(version)
                    self.free(version)

    def test_xfrm_default_blocks(self):
        with self.done("ip", "xfrm", "policy", "setdefault", "fwd", "block",
                       undo=("ip", "xfrm", "policy", "setdefault", "fwd", "accept")):
            for version in VERSIONS:
                self.blocked(version)
        for version in VERSIONS:
            self.free(version)

    def test_policies_that_concern_no_forwarded_packet(self):
        for version in VERSIONS:
            for direction, key, action in (("in", (), "block"), ("out", (), "allow"), ("out", ("if_id", 7), "block")):
                with self.subTest(version=version, what=(direction, *key, action)):
                    with self.policy(version, direction, "action", action, key=key):
                        self.stays_free(version)

    def template(self, version, reqid):
        return ("tmpl", "src", ROUTER[version], "dst", HOST[version], "proto", "esp", "reqid", reqid, "mode", "tunnel")

    def test_no_plain_text_without_a_state(self):
        """The tunnel is configured; its keys are not there yet."""
        for version in VERSIONS:
            with self.subTest(version=version):
                with self.policy(version, "out", *self.template(version, 5)):
                    self.blocked(version)
                self.free(version)

    def test_esp_tunnel(self):
        """Everything arrives, as ESP."""
        for version in VERSIONS:
            with self.subTest(version=version), contextlib.ExitStack() as stack:
                state = ("src", ROUTER[version], "dst", HOST[version], "proto", "esp", "spi", 0x1000 + version)
                stack.enter_context(self.done("ip", "xfrm", "state", "add", *state, "reqid", 7, "mode", "tunnel",
                                              *CIPHER, undo=("ip", "xfrm", "state", "delete", *state)))
                stack.enter_context(self.policy(version, "out", *self.template(version, 7)))
                next_header = 14 + (9 if version == 4 else 6)
                wait_for("packets leave encrypted", lambda v=version: not self.received(v))
                got = self.received(version, lambda f, at=next_header: MARK in f or f[at] == 50)
                self.assertEqual(len(got), PACKETS)
                self.assertEqual([f for f in got if MARK in f], [])
            self.free(version)

    def clsact(self, dev):
        return self.done("tc", "qdisc", "add", "dev", dev, "clsact", undo=("tc", "qdisc", "del", "dev", dev, "clsact"))

    def filtered(self, dev, direction):
        for version in VERSIONS:
            with self.subTest(version=version), contextlib.ExitStack() as stack:
                stack.enter_context(self.clsact(dev))
                self.free(version)  # without a filter
                stack.enter_context(self.done("tc", "filter", "add", "dev", dev, direction, "bpf", "da", "bytecode",
                                              DROP[version], undo=("tc", "filter", "del", "dev", dev, direction)))
                self.blocked(version)
            self.free(version)

    def test_tc_ingress_filter(self):
        self.filtered(LAN.dev, "ingress")

    def test_tc_egress_filter(self):
        self.filtered(WAN.dev, "egress")

    def test_tc_filters_elsewhere(self):
        """Filters of the other direction leave packets on the fast path."""
        for dev, direction in ((WAN.dev, "ingress"), (LAN.dev, "egress")):
            with self.clsact(dev):
                self.router.run("tc", "filter", "add", "dev", dev, direction, "bpf", "da", "bytecode", DROP[4])
                for version in VERSIONS:
                    self.stays_free(version)

    def shaped(self):
        """Packets that the discipline of WAN has dropped."""
        disciplines = json.loads(self.router.run("tc", "-s", "-j", "qdisc", "show", "dev", WAN.dev).stdout)
        return next(d["drops"] for d in disciplines if d.get("root"))

    def test_tc_shaper(self):
        """A token bucket with room for three of the packets drops the others."""
        for version in VERSIONS:
            with self.subTest(version=version):
                with self.done("tc", "qdisc", "add", "dev", WAN.dev, "root", "tbf", "rate", "8kbit", "burst", 1600,
                               "limit", 2000, undo=("tc", "qdisc", "del", "dev", WAN.dev, "root")):
                    def all_are_shaped():
                        before = self.shaped()
                        self.send(version, 900)
                        return self.shaped() - before >= PACKETS - 10

                    wait_for("packets meet the shaper", all_are_shaped)
            self.free(version)
