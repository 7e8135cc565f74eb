# SPDX-License-Identifier: BSD-3-Clause
"""The poll/interrupt hybrid, observed from outside: an idle router costs nothing, and the first packet wakes its queue.
`bench/run wake` measures how fast."""

import json
import pathlib
import random
import time
import unittest

from lab import KERNEL, NETWORKS, Lab, run, wait_for
from traffic import Sink, Stream, ping, udp_echo, wait_ping

LAN, WAN = NETWORKS["lan"], NETWORKS["wan"]


def usage(pid):
    """Returns CPU time (ns) and voluntary context switches of a process, all threads."""
    cpu = switches = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        cpu += int((task / "schedstat").read_text(encoding="ascii").split()[0])
        status = (task / "status").read_text(encoding="ascii")
        switches += int(status.split("\nvoluntary_ctxt_switches:")[1].split()[0])
    return cpu, switches


class Idle(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab(("lan", "wan"))
        cls.client, cls.server = cls.lab.client, cls.lab.server

    @classmethod
    def tearDownClass(cls):
        cls.lab.stop()

    def use(self, seconds):
        """Returns over a time: the share of a core, the wake-ups per second, and how many frames the router received or
        sent."""
        frames = self.frames()
        before = usage(self.lab.process.pid)
        time.sleep(seconds)
        after = usage(self.lab.process.pid)
        return (after[0] - before[0]) / seconds / 1e9, (after[1] - before[1]) / seconds, self.frames() - frames

    def frames(self):
        links = json.loads(run("ip", "-n", self.lab.router.name, "-j", "-s", "link", "show").stdout)
        return sum(link["stats64"][way]["packets"] for link in links for way in ("rx", "tx"))

    @unittest.skipIf(KERNEL, "about halfpoll")
    def test_idle_costs_nothing(self):
        """The router uses less than 0.5 % of a core and 4 wake-ups a second, soon after traffic has ended. What hosts
        and kernel send by themselves (neighbour discovery) may wake it: a frame is counted on the port and on the
        shadow, and wakes a queue and the slow path."""
        ping(self.client, WAN.host4, count=200, interval=0.002)
        wait_ping(self.client, WAN.host6, 3)
        time.sleep(3)
        share, wakes, frames = self.use(10)
        self.assertLess(share, 0.005)
        self.assertLess(wakes - frames / 10, 4)

    @unittest.skipIf(KERNEL, "about halfpoll")
    def test_one_queue_idle_while_the_other_works(self):
        """A trickle is served by interrupts, with far less than a core."""
        ping(self.client, WAN.host4)
        with Sink(self.server, WAN.host4, 7100) as sink, Stream(self.client, LAN.host4, (WAN.host4, 7100), 10) as stream:
            time.sleep(1)
            share, _, _ = self.use(3)
            wait_for("what was sent arrives", lambda: len(sink.got) >= stream.sent)
        self.assertLess(share, 0.02)

    def test_wake_from_idle(self):
        """1,000 single packets at random gaps. Each is answered before the next one is sent, and none waits for the
        bounded park that would hide a lost wake-up."""
        rng = random.Random(7)
        with udp_echo(self.server, WAN.host4), self.client.udp(LAN.host4, timeout=20) as s:
            for i in range(1000):
                time.sleep(rng.choice((0, rng.uniform(0, 0.0005), rng.uniform(0, 0.01))))
                s.sendto(i.to_bytes(4, "big"), (WAN.host4, 7000))
                self.assertEqual(s.recv(100), i.to_bytes(4, "big"))
        self.woken_by_interrupts()

    def test_wake_after_long_silence(self):
        for pause in (0.5, 1.5, 3):
            time.sleep(pause)
            ping(self.client, WAN.host4)
        self.woken_by_interrupts()

    def woken_by_interrupts(self):
        for napi in [] if KERNEL else self.lab.show("napi"):
            self.assertEqual(napi["mode"], "interrupt", napi)
            self.assertEqual(napi["park_rescues"], 0, napi)
