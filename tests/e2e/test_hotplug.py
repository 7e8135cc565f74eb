# SPDX-License-Identifier: BSD-3-Clause
"""Runtime CPUs go offline and return under traffic, by command and by autoscaling."""

import json
import pathlib
import time
import unittest

from lab import KERNEL, NETWORKS, Lab, wait_for
from traffic import Sink, Stream, ping

LAN, WAN = NETWORKS["lan"], NETWORKS["wan"]


class TwoCpus(Lab):
    """lan is received on runtime CPU 1 and wan on CPU 0, so forwarded packets cross from one CPU to the other."""

    def __init__(self, **more):
        self.cpus = {"lan": 1, "wan": 0}
        super().__init__(("lan", "wan"), **more)

    def config(self):
        text = f'[runtime]\ncpus = [0, 1]\ncontrol = "{self.folder}/control"\n'
        for net in self.nets:
            text += (f'\n[[port]]\nname = "{net.name}"\ndevice = "af_xdp:{net.port}"\nshadow = "{net.dev}"\n'
                     f"cpus = [{self.cpus[net.name]}]\n")
        return text + self.extra_config


@unittest.skipIf(KERNEL, "about halfpoll")
class Hotplug(unittest.TestCase):
    def setUp(self):
        self.lab = TwoCpus()
        self.addCleanup(self.lab.stop)
        ping(self.lab.client, WAN.host4)

    def cpus(self):
        return {row["cpu"]: row for row in self.lab.show("cpu")}

    def refused(self, *args):
        done = self.lab.halfpoll(*args, check=False)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertEqual(len(done.stdout.splitlines()), 1, done.stdout)
        return done.stdout

    def thread_ticks(self, name):
        """Returns the CPU time of a thread in clock ticks."""
        for task in pathlib.Path(f"/proc/{self.lab.process.pid}/task").iterdir():
            if (task / "comm").read_text(encoding="ascii").strip() == name:
                return sum(map(int, (task / "stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[11:13]))
        raise AssertionError(f"no thread {name}")

    def test_no_packet_is_lost_as_cpus_go_and_come(self):
        there = Sink(self.lab.server, WAN.host4, 7100)
        back = Sink(self.lab.client, LAN.host4, 7101)
        streams = (Stream(self.lab.client, LAN.host4, (WAN.host4, 7100), 1000, sinks=[there]),
                   Stream(self.lab.server, WAN.host4, (LAN.host4, 7101), 1000, sinks=[back]))
        with there, back:
            with streams[0], streams[1]:
                wait_for("both streams run", lambda: min(len(there.got), len(back.got)) > 20)
                for turn in range(10):
                    for cpu in (1, 0):
                        self.lab.halfpoll("cpu", "offline", cpu)
                        state = self.cpus()
                        self.assertEqual((state[cpu]["state"], state[cpu]["queues"]), ("offline", []))
                        self.assertEqual(sorted(state[1 - cpu]["queues"]), ["lan-0", "wan-0"])
                        self.lab.halfpoll("cpu", "online", cpu)
                state = self.cpus()
                self.assertEqual([state[c]["queues"] for c in (0, 1)], [["wan-0"], ["lan-0"]])
            for sink, stream in ((there, streams[0]), (back, streams[1])):
                wait_for("every datagram has arrived", lambda s=sink, t=stream: len(s.got) == t.sent, 2)
                self.assertEqual(sink.got, sorted(sink.got), "out of order")

    def test_what_makes_no_sense_is_refused(self):
        self.assertIn("0 to 1", self.refused("cpu", "offline", 2))
        self.assertIn("online already", self.refused("cpu", "online", 1))
        self.lab.halfpoll("cpu", "offline", 0)
        self.assertIn("last one online", self.refused("cpu", "offline", 1))
        self.assertIn("offline already", self.refused("cpu", "offline", 0))
        for args, words in ((("target_us=1000001",), "0 to 1000000"), (("min_cpus=3",), "1 to 2"),
                            (("low_percent=0",), "1 to 100"), (("settle_ms=0",), "1 to 3600000"),
                            (("target=5",), "unknown setting target")):
            self.assertIn(words, self.refused("set", "autoscale", *args))
        ping(self.lab.client, WAN.host4)

    def test_an_offline_cpu_costs_nothing_and_survives_a_reload(self):
        self.lab.halfpoll("cpu", "offline", 1)
        before = self.thread_ticks("hp/1")
        ping(self.lab.client, WAN.host4)
        config = self.lab.folder / "halfpoll.toml"
        config.write_text(config.read_text(encoding="utf-8").replace("[[port]]", "[[port]]\nmtu = 1400"), encoding="utf-8")
        self.lab.halfpoll("reload")
        self.assertEqual(self.cpus()[1]["state"], "offline")
        time.sleep(0.5)
        self.assertLessEqual(self.thread_ticks("hp/1") - before, 2)
        ping(self.lab.client, WAN.host4)
        self.lab.halfpoll("cpu", "online", 1)
        ping(self.lab.client, WAN.host4)

    def test_autoscaling_parks_what_is_not_needed(self):
        self.lab.halfpoll("set", "autoscale", "target_us=500", "settle_ms=50")
        wait_for("a CPU is parked", lambda: self.cpus()[1]["state"] == "parked")
        self.assertEqual(json.loads(self.lab.halfpoll("show", "cpu", "--json").stdout)["autoscale"],
                         {"target_us": 500, "min_cpus": 1, "low_percent": 50, "settle_ms": 50})
        ping(self.lab.client, WAN.host4)
        self.lab.halfpoll("cpu", "offline", 1)  # autoscaling leaves it offline from now on
        self.lab.halfpoll("set", "autoscale", "target_us=0")
        time.sleep(0.1)
        self.assertEqual(self.cpus()[1]["state"], "offline")
        self.lab.halfpoll("cpu", "online", 1)
        self.lab.halfpoll("set", "autoscale", "target_us=500", "settle_ms=50")
        wait_for("it is parked again", lambda: self.cpus()[1]["state"] == "parked")
        self.assertIn("~ [autoscale] target_us: 500 -> 0", self.lab.halfpoll("reload").stdout)
        wait_for("all are back", lambda: self.cpus()[1]["state"] == "online")
        ping(self.lab.client, WAN.host4)
