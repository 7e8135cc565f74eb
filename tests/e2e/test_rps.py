# SPDX-License-Identifier: BSD-3-Clause
"""Packets are received on one CPU and forwarded on another (RPS)."""

import json
import unittest

from lab import KERNEL, NETWORKS, Lab, wait_for
from traffic import Sink, Stream, ping, transfer

LAN, WAN = NETWORKS["lan"], NETWORKS["wan"]


class SteeringLab(Lab):
    """Two runtime CPUs; the first one polls all rx queues."""

    def config(self):
        text = f'[runtime]\ncpus = [0, 1]\ncontrol = "{self.folder}/control"\nrps_sock_flow_entries = 1000\n'
        for net, more in (LAN, "rps_cpus = [1]\nrps_flow_cnt = 256\n"), (WAN, ""):
            text += (f'\n[[port]]\nname = "{net.name}"\ndevice = "af_xdp:{net.port}"\nshadow = "{net.dev}"\ncpus = [0]\n'
                     + more)
        return text


@unittest.skipIf(KERNEL, "about halfpoll")
class Steering(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = SteeringLab(("lan", "wan"))
        cls.client, cls.server = cls.lab.client, cls.lab.server
        ping(cls.client, WAN.host4)
        ping(cls.client, WAN.host6)

    @classmethod
    def tearDownClass(cls):
        cls.lab.stop()

    def setUp(self):
        self.set("lan", "rps_cpus=1", "rps_flow_cnt=256")
        self.set("wan", "rps_cpus=", "rps_flow_cnt=0")

    def set(self, *args, check=True):
        return self.lab.halfpoll("set", "rps", *args, check=check)

    def rps(self, name):
        return next(row for row in self.lab.show("rps") if row["name"] == f"{name}-0")

    def processed(self, cpu):
        return self.lab.show("softnet")[cpu]["processed"]

    def stream(self, packets):
        """Sends that many datagrams from client to server; all arrive, in order."""
        with Sink(self.server, WAN.host4, 7200) as sink:
            with Stream(self.client, LAN.host4, (WAN.host4, 7200), 2000, sinks=[sink]) as stream:
                wait_for("datagrams arrive", lambda: len(sink.got) >= packets)
            wait_for("every datagram has arrived", lambda: len(sink.got) == stream.sent, 3)
            self.assertEqual(sink.got, sorted(sink.got), "out of order")

    def test_packets_are_processed_on_the_other_cpu(self):
        before, cpu1 = self.rps("lan"), self.processed(1)
        self.assertEqual((before["cpu"], before["rps_cpus"], before["rps_flow_cnt"]), (0, [1], 256))
        self.stream(200)
        after = self.rps("lan")
        self.assertGreaterEqual(after["steered"] - before["steered"], 200)
        self.assertGreaterEqual(self.processed(1) - cpu1, 200)
        self.assertEqual(self.rps("wan")["steered"], 0)
        self.assertEqual(self.lab.drops()["CPU_BACKLOG"], 0)

    def test_the_kernels_answers_come_through_too(self):
        """Addresses of the box, expired TTLs and TCP work with both directions steered."""
        self.set("wan", "rps_cpus=0-1")
        ping(self.client, LAN.router4)
        ping(self.client, LAN.router6)
        ping(self.client, WAN.host6)
        done = self.client.run("ping", "-c", 1, "-t", 1, "-W", 20, WAN.host4, check=False)
        self.assertIn("Time to live exceeded", done.stdout)
        transfer(self.client, self.server, WAN.host4, 4 << 20)

    def test_settings_change_under_traffic(self):
        with Sink(self.server, WAN.host4, 7201) as sink:
            with Stream(self.client, LAN.host4, (WAN.host4, 7201), 1000, sinks=[sink]) as stream:
                for turn in range(30):
                    before = len(sink.got)
                    self.set("lan", "rps_cpus=" + ("", "0", "1", "0,1", "0x3")[turn % 5], f"rps_flow_cnt={turn % 3 * 64}")
                    self.lab.halfpoll("set", "runtime", f"rps_sock_flow_entries={turn % 4 * 100}")
                    wait_for("packets go on", lambda n=before: len(sink.got) >= n + 5)
            wait_for("every datagram has arrived", lambda: len(sink.got) == stream.sent, 3)
            self.assertEqual(sink.got, sorted(sink.got), "out of order")
        self.assertEqual(self.rps("lan")["rps_cpus"], [0, 1])

    def test_what_is_refused(self):
        """A refusal is one line with the range, and changes nothing."""
        before = self.lab.halfpoll("show", "rps", "--json").stdout
        for args, words in ((("rps", "lan", "rps_cpus=0-2"), "rps_cpus: found 0-2, expected runtime CPUs from 0 to 1"),
                            (("rps", "lan", "rps_cpus=1", "rps_flow_cnt=-1"), "an integer from 0 to 1048576"),
                            (("rps", "none", "rps_cpus=1"), 'called "none"'),
                            (("rps", "lan", "rps_cpu=1"), "unknown setting rps_cpu"),
                            (("runtime", "rps_sock_flow_entries=99999999"), "an integer from 0 to 16777216"),
                            (("runtime", "netdev_budget=64", "flow_limit_table_len=100"), "power of two")):
            done = self.lab.halfpoll("set", *args, check=False)
            self.assertEqual((done.returncode, len(done.stdout.splitlines())), (1, 1), done.stdout)
            self.assertIn(words, done.stdout)
        rows, now = json.loads(before), json.loads(self.lab.halfpoll("show", "rps", "--json").stdout)
        for table in rows, now:
            for row in table["rps"]:
                row.pop("steered")
                row.pop("direct")
        self.assertEqual(rows, now)
        self.assertNotIn("netdev_budget", self.lab.halfpoll("reload", "--dry-run").stdout)

    def test_limits_of_flows(self):
        self.lab.halfpoll("set", "runtime", "flow_limit_cpu_bitmap=0", "flow_limit_table_len=256")
        shown = json.loads(self.lab.halfpoll("show", "rps", "--json").stdout)
        self.assertEqual((shown["flow_limit_cpu_bitmap"], shown["flow_limit_table_len"]), ("0", 256))
        self.assertEqual(shown["rps_sock_flow_entries"] & (shown["rps_sock_flow_entries"] - 1), 0)
        self.stream(100)
        out = self.lab.halfpoll("reload").stdout
        self.assertIn("~ [runtime] flow_limit_cpu_bitmap: [0] -> []\n", out)
