# SPDX-License-Identifier: BSD-3-Clause
"""TCP that goes through the kernel: in frames of many packets, as the offloads of the shadows allow, and in the same
packets on the wire as without them."""

import json
import unittest

from lab import KERNEL, NETWORKS, Lab, wait_for
from traffic import transfer

LAN, WAN = NETWORKS["lan"], NETWORKS["wan"]
SIZE = 4 << 20
FEW_PACKETS = SIZE // 1460


class Offload(unittest.TestCase):
    def setUp(self):
        self.lab = Lab(("lan", "wan"), config="\n[forward]\nkernel_pass = false\n")
        self.addCleanup(self.lab.stop)
        self.client, self.server, self.router = self.lab.client, self.lab.server, self.lab.router

    def kernel_counts(self, net):
        """Frames that the kernel got and gave at a shadow."""
        stats = self.router.ip_json("-s", "link", "show", "dev", net.dev)[0]["stats64"]
        return stats["rx"]["packets"], stats["tx"]["packets"]

    def shadow_counts(self, net):
        """Packets of the wire that went to the kernel and came from it."""
        shadows = json.loads(self.lab.halfpoll("show", "punt", "--json").stdout)["shadows"]
        shadow = next(s for s in shadows if s["shadow"] == net.dev)
        return shadow["to_kernel"], shadow["from_kernel"]

    def test_to_and_from_the_box(self):
        for address, host in ((LAN.router4, LAN.host4), (LAN.router6, LAN.host6)):
            transfer(self.client, self.router, address, SIZE)
            transfer(self.router, self.client, host, SIZE)
        if not KERNEL:
            to_kernel, from_kernel = self.shadow_counts(LAN)
            frames_in, frames_out = self.kernel_counts(LAN)
            self.assertGreater(to_kernel, 2 * FEW_PACKETS)
            self.assertGreater(from_kernel, 2 * FEW_PACKETS)
            self.assertLess(frames_in, to_kernel)
            self.assertLess(frames_out, from_kernel // 2)

    def test_through_the_kernel(self):
        """Rules for an empty table make the kernel forward. What it gets in frames leaves in packets of the same number
        and size."""
        for net in (LAN, WAN):
            for family in ("-4", "-6"):
                self.router.ip(family, "rule", "add", "pref", "100", "iif", net.dev, "lookup", "100")
        if not KERNEL:
            wait_for("all packets are left to the kernel", self.leaves_all)
        for target, host in ((WAN.host4, LAN.host4), (WAN.host6, LAN.host6)):
            transfer(self.client, self.server, target, SIZE)
            transfer(self.server, self.client, host, SIZE)
        if not KERNEL:
            for net, other in ((LAN, WAN), (WAN, LAN)):
                to_kernel, _ = self.shadow_counts(net)
                _, from_kernel = self.shadow_counts(other)
                frames_in, _ = self.kernel_counts(net)
                _, frames_out = self.kernel_counts(other)
                self.assertGreater(to_kernel, 2 * FEW_PACKETS)
                self.assertLess(frames_in, to_kernel)
                self.assertLess(frames_out, from_kernel)
                # Neighbour discovery and the like are the box's own.
                self.assertAlmostEqual(to_kernel, from_kernel, delta=100)

    def leaves_all(self):
        return all(row["in"] == "kernel" for row in self.lab.show("policy"))

    @unittest.skipIf(KERNEL, "about the shadow")
    def test_ethtool(self):
        """Switched off, each packet is a frame; and bytes arrive as before."""
        self.router.run("ethtool", "-K", LAN.dev, "tso", "off", "gro", "off")
        wait_for("each packet to the kernel is a frame", self.merges_nothing)
        frames, packets = self.kernel_counts(LAN)[1], self.shadow_counts(LAN)[1]
        transfer(self.router, self.client, LAN.host4, SIZE // 4)
        frames, packets = self.kernel_counts(LAN)[1] - frames, self.shadow_counts(LAN)[1] - packets
        self.assertGreaterEqual(packets, SIZE // 4 // 1460)
        self.assertLess(packets, frames + 20, "few are counted at the one place and not yet at the other")

    def merges_nothing(self):
        frames, packets = self.kernel_counts(LAN)[0], self.shadow_counts(LAN)[0]
        transfer(self.client, self.router, LAN.router4, SIZE // 4)
        return self.kernel_counts(LAN)[0] - frames == self.shadow_counts(LAN)[0] - packets
