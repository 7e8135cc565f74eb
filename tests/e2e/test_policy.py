# SPDX-License-Identifier: BSD-3-Clause
"""What is left to the kernel is said: `show policy`, `show status`, the log; and `[forward] obey` decides it."""

import json
import unittest

from lab import KERNEL, NETWORKS, wait_for
from test_operate import ReloadCase
from traffic import Sink, Stream, ping

LAN, WAN = NETWORKS["lan"], NETWORKS["wan"]
RULE = ("from", "10.99.0.0/16", "lookup", "100")  # concerns nobody here, but could
OBEY_NOTHING = "\n[forward]\nobey = []\n"


@unittest.skipIf(KERNEL, "about halfpoll")
class Policy(ReloadCase):
    def setUp(self):
        super().setUp()
        self.wait_ways("fast", "fast")

    def ways(self):
        """(interface, family) -> (in, out)."""
        return {(row["interface"], row["family"]): (row["in"], row["out"]) for row in self.lab.show("policy")}

    def wait_ways(self, ip4, ip6):
        wanted = {(dev, family): (way, "fast") for dev in ("lan0", "wan0") for family, way in (("IPv4", ip4), ("IPv6", ip6))}
        wait_for(f"IPv4 {ip4}, IPv6 {ip6}: {wanted}", lambda: self.ways() == wanted)

    def status(self):
        return json.loads(self.lab.halfpoll("show", "status", "--json").stdout)["status"]

    def not_obeyed(self):
        return [text for text in self.status()["degraded"] if text.startswith("does not obey")]

    def way_of_packets(self):
        """Sends 200 datagrams and returns how many of the packets went by the fast path, and how many by the kernel."""
        before = self.status()
        with Sink(self.lab.server, WAN.host4, 7100) as sink, Stream(self.client, LAN.host4, (WAN.host4, 7100), 1000, sinks=[sink]):
            wait_for("the datagrams arrive", lambda: len(sink.got) >= 200)
        after = self.status()
        return tuple(after[key] - before[key] for key in ("forwarded_fast", "handed_to_kernel"))

    def test_a_rule_leaves_its_family_to_the_kernel(self):
        ping(self.client, WAN.host4)
        fast, kernel = self.way_of_packets()
        self.assertGreaterEqual(fast, 200)
        self.assertEqual((kernel, self.status()["policy"], self.not_obeyed()), (0, [], []))
        self.router.ip("rule", "add", *RULE)
        self.wait_ways("kernel", "fast")
        row = next(row for row in self.lab.show("policy") if (row["interface"], row["family"]) == ("lan0", "IPv4"))
        self.assertEqual(row["port"], "lan")
        reason, = row["reasons"]
        self.assertEqual((reason["kind"], reason["side"], reason["obeyed"]), ("rule", "in", True))
        self.assertIn("ip rule", reason["text"])
        self.assertEqual((row["why"], self.status()["policy"]), (reason["text"], [reason["text"]]))
        self.assertIn(reason["text"], self.lab.halfpoll("show", "policy").stdout)
        _, kernel = self.way_of_packets()
        self.assertGreaterEqual(kernel, 200)
        self.router.ip("rule", "del", *RULE)
        self.wait_ways("fast", "fast")
        fast, kernel = self.way_of_packets()
        self.assertGreaterEqual(fast, 200)
        self.assertEqual(kernel, 0)
        log = self.lab.output()
        self.assertEqual(log.count(f"IPv4: the kernel alone forwards: {reason['text']}"), 1, log)
        self.assertEqual(log.count(f"IPv4: no longer left to the kernel because of {reason['text']}"), 1, log)

    def test_what_is_not_obeyed_is_said(self):
        self.router.ip("rule", "add", *RULE)
        self.wait_ways("kernel", "fast")
        out = self.lab.reload(more=OBEY_NOTHING).stdout
        self.assertRegex(out, r'^~ \[forward\] obey: \["rule", .*\] -> \[\]\n$')
        self.wait_ways("fast", "fast")
        fast, kernel = self.way_of_packets()
        self.assertGreaterEqual(fast, 200)
        self.assertEqual(kernel, 0)
        self.assertLess({"does not obey rule, as configured", "does not obey nft, as configured"}, set(self.not_obeyed()))
        self.assertEqual(self.status()["policy"], [])
        row = next(row for row in self.lab.show("policy") if row["family"] == "IPv4")
        self.assertFalse(row["reasons"][0]["obeyed"])
        self.assertIn("(not obeyed)", row["why"])
        self.assertIn("does not obey rule, as configured", self.lab.output())
        self.lab.reload()
        self.wait_ways("kernel", "fast")
        self.assertEqual(self.not_obeyed(), [])

    def test_a_reload_that_fails_obeys_as_before(self):
        self.router.ip("rule", "add", *RULE)
        self.wait_ways("kernel", "fast")
        out = self.refused(more=OBEY_NOTHING + '\n[[port]]\ndevice = "af_xdp:nowhere"\nshadow = "x0"\n')
        self.assertIn("as it was before", out)
        self.assertEqual(self.ways()["lan0", "IPv4"][0], "kernel")
        self.assertEqual(self.not_obeyed(), [])

    def test_a_kind_that_does_not_exist(self):
        out = self.refused(more='\n[forward]\nobey = ["rules"]\n')
        self.assertIn('obey: found "rules" (string), did you mean "rule"?', out)
        self.assertEqual(self.lab.reload().stdout, "no changes\n")
