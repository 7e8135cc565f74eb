# SPDX-License-Identifier: BSD-3-Clause
"""Exclusion mode nested: rx queues with their own interrupt threads at SCHED_FIFO priorities."""

import os
import pathlib
import signal
import unittest

from lab import KERNEL, NETWORKS, Lab, wait_for
from traffic import Sink, Stream, ping

LAN, WAN, ALT = NETWORKS["lan"], NETWORKS["wan"], NETWORKS["alt"]
HP0, HP1, IRQ_LAN, IRQ_ALT = range(4)  # runtime CPUs


def fifo_is_refused():
    """Returns the reason why this machine grants no real-time priority, or None."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError as error:
        return f"no SCHED_FIFO here: {error}"
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return None


class NestedLab(Lab):
    """lan and alt have their own threads; the first ordinary thread polls wan."""

    ports = {"lan": "cpus = [1]\nirq_priority = 60\n", "wan": "cpus = [0]\n", "alt": "irq_priority = [30]\n"}

    def config(self, exclusion="nested", **changed):
        text = f'[runtime]\ncpus = [0, 1]\ncontrol = "{self.folder}/control"\nexclusion = "{exclusion}"\n'
        for net in self.nets:
            text += (f'\n[[port]]\nname = "{net.name}"\ndevice = "af_xdp:{net.port}"\nshadow = "{net.dev}"\n'
                     + changed.get(net.name, self.ports[net.name]))
        return text

    def reload(self, check=True, **changed):
        (self.folder / "halfpoll.toml").write_text(self.config(**changed), encoding="utf-8")
        return self.halfpoll("reload", check=check)


@unittest.skipIf(KERNEL, "about halfpoll")
class Nested(unittest.TestCase):
    def setUp(self):
        refused = fifo_is_refused()
        if refused:
            self.skipTest(refused)
        self.lab = NestedLab()
        self.addCleanup(self.lab.stop)
        for net in (WAN, ALT):
            ping(self.lab.client, net.host4)

    def cpus(self):
        return {row["cpu"]: row for row in self.lab.show("cpu")}

    def queues(self):
        return {cpu: row["queues"] for cpu, row in self.cpus().items()}

    def processed(self):
        return {row["thread"]: row["processed"] for row in self.lab.show("softnet")}

    def threads(self):
        """Returns thread ids by name."""
        tasks = pathlib.Path(f"/proc/{self.lab.process.pid}/task").iterdir()
        return {(task / "comm").read_text(encoding="ascii").strip(): int(task.name) for task in tasks}

    def refused(self, done, words):
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn(words, done.stdout)

    def test_each_queue_has_its_thread_and_is_polled_there(self):
        threads = self.threads()
        for name, policy, priority, cpu in (("hp/0", os.SCHED_OTHER, 0, 0), ("hp/1", os.SCHED_OTHER, 0, 1),
                                            ("irq/lan-0", os.SCHED_FIFO, 60, 1), ("irq/alt-0", os.SCHED_FIFO, 30, 0)):
            tid = threads[name]
            self.assertEqual((name, os.sched_getscheduler(tid), os.sched_getparam(tid).sched_priority,
                              os.sched_getaffinity(tid)), (name, policy, priority, {cpu}))
        self.assertEqual([(row["thread"], row["affinity"], row["fifo_priority"], row["queues"])
                          for row in self.cpus().values()],
                         [("hp/0", 0, 0, ["wan-0"]), ("hp/1", 1, 0, []), ("irq/lan-0", 1, 60, ["lan-0"]),
                          ("irq/alt-0", 0, 30, ["alt-0"])])
        self.assertEqual(self.lab.show("status")["degraded"], [])
        before = self.processed()
        with Sink(self.lab.server, WAN.host4, 7100) as sink:
            with Stream(self.lab.client, LAN.host4, (WAN.host4, 7100), 1000, sinks=[sink]) as stream:
                wait_for("packets arrive", lambda: len(sink.got) >= 200)
            wait_for("every datagram has arrived", lambda: len(sink.got) == stream.sent, 2)
            self.assertEqual(sink.got, sorted(sink.got), "out of order")
        grown = {name: count - before[name] for name, count in self.processed().items()}
        self.assertGreaterEqual(grown["irq/lan-0"], 200)
        self.assertLess(grown["hp/1"] + grown["irq/alt-0"], 50, "what hosts say besides")  # hp/0 has wan's tx queue
        self.assertEqual(self.lab.signal(signal.SIGTERM), 0, self.lab.output())

    def test_cpus_go_and_come_without_loss(self):
        with Sink(self.lab.server, WAN.host4, 7100) as sink:
            with Stream(self.lab.client, LAN.host4, (WAN.host4, 7100), 1000, sinks=[sink]) as stream:
                wait_for("packets arrive", lambda: len(sink.got) > 20)
                self.lab.halfpoll("cpu", "offline", IRQ_LAN)
                self.assertEqual(self.queues(), {HP0: ["wan-0"], HP1: ["lan-0"], IRQ_LAN: [], IRQ_ALT: ["alt-0"]})
                self.lab.halfpoll("cpu", "offline", HP1)  # only a CPU of the same urgency takes its queues
                self.assertEqual(self.queues(), {HP0: ["lan-0", "wan-0"], HP1: [], IRQ_LAN: [], IRQ_ALT: ["alt-0"]})
                self.refused(self.lab.halfpoll("cpu", "offline", HP0, check=False), "last one online")
                for cpu in (IRQ_LAN, HP1):
                    self.lab.halfpoll("cpu", "online", cpu)
                self.assertEqual(self.queues(), {HP0: ["wan-0"], HP1: [], IRQ_LAN: ["lan-0"], IRQ_ALT: ["alt-0"]})
                count = len(sink.got)
                wait_for("packets go on arriving", lambda: len(sink.got) > count + 20)
            wait_for("every datagram has arrived", lambda: len(sink.got) == stream.sent, 2)
            self.assertEqual(sink.got, sorted(sink.got), "out of order")

    def test_what_a_reload_can_change(self):
        self.refused(self.lab.reload(check=False, lan="cpus = [1]\nirq_priority = 61\n"),
                     "~ port lan irq_priority: [60] -> [61]")
        self.refused(self.lab.reload(check=False, lan="cpus = [0]\nirq_priority = 60\n"), "~ port lan cpus: [1] -> [0]")
        self.refused(self.lab.reload(check=False, exclusion="big", lan="", alt=""),
                     '~ [runtime] exclusion: "nested" -> "big"')
        self.refused(self.lab.halfpoll("set", "napi", "lan", "threaded=enabled", check=False), "irq_priority")
        self.refused(self.lab.halfpoll("set", "rps", "wan", f"rps_cpus={IRQ_LAN}", check=False), "from 0 to 1")
        self.lab.reload(lan=NestedLab.ports["lan"] + "descriptors = 512\n")  # closed and reopened
        self.assertEqual(self.queues()[IRQ_LAN], ["lan-0"])
        ping(self.lab.client, WAN.host4)
        self.lab.halfpoll("set", "autoscale", "target_us=500", "settle_ms=50")
        wait_for("an ordinary CPU is parked", lambda: self.cpus()[HP1]["state"] == "parked")
        self.assertEqual([self.cpus()[c]["state"] for c in (HP0, IRQ_LAN, IRQ_ALT)], ["online"] * 3)
        ping(self.lab.client, WAN.host4)


class UnprivilegedLab(NestedLab):
    prefix = ("prlimit", "--rtprio=0:0", "setpriv", "--bounding-set=-sys_nice", "--inh-caps=-sys_nice")


@unittest.skipIf(KERNEL, "about halfpoll")
class WithoutFifo(unittest.TestCase):
    def test_it_is_said_and_forwards(self):
        lab = UnprivilegedLab()
        self.addCleanup(lab.stop)
        self.assertEqual([row["fifo_priority"] for row in lab.show("cpu")], [0] * 4)
        self.assertEqual([text.split(":")[0] for text in lab.show("status")["degraded"] if text.startswith("irq/")],
                         ["irq/lan-0 runs without SCHED_FIFO 60", "irq/alt-0 runs without SCHED_FIFO 30"])
        ping(lab.client, WAN.host4)
