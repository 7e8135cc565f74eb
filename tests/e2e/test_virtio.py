# SPDX-License-Identifier: BSD-3-Clause
"""Load on virtio devices from a polling vhost-user peer: the data core's system calls, fairness to a quiet queue, and
overload. The programs are those of bench/."""

import pathlib
import sys
import unittest

from lab import KERNEL, PROGRAM

BUILD = pathlib.Path(PROGRAM).resolve().parents[2]
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench"))
import virtio_pair  # noqa: E402  (lives in bench/)


@unittest.skipIf(KERNEL, "about halfpoll")
class Virtio(unittest.TestCase):
    def test_full_load_without_system_calls(self):
        """No more than it slept and armed interrupts: none for polling, receiving or sending."""
        seen = virtio_pair.system_calls(BUILD)
        self.assertGreater(seen["packets"], 1_000_000, "this was no full load")
        self.assertLessEqual(seen["calls"]["data_core"], seen["wakeups"] + seen["rearms"], seen)
        self.assertLess(seen["calls"]["all"], seen["polls"] / 100, seen)

    def test_trickle_beside_full_load(self):
        """The quiet queue waits on its interrupt while its neighbour never stops, and is served within the budgets."""
        seen = virtio_pair.trickle(BUILD, windows=20)
        delays, device = seen["delays"], seen["device"]
        self.assertGreater(seen["saturated"], 2, "the neighbour was no full load")
        self.assertGreaterEqual(len(delays), 100)
        self.assertEqual(device["rung"], "interrupt")
        self.assertGreaterEqual(device["interrupts"], 0.9 * device["packets"], device)
        self.assertLessEqual(device["polls"], 2 * device["packets"] + 10, "it was polled all the time")
        self.assertEqual(device["park_rescues"], 0)
        self.assertLess(delays[len(delays) * 99 // 100], seen["bound"])

    def test_overload_without_livelock(self):
        """Offered more than five times what it can do, it still does 95 % of its best."""
        seen = virtio_pair.overload(BUILD, windows=3)
        self.assertGreaterEqual(seen["offered"], 5 * seen["peak"], seen)
        self.assertLess(abs(seen["accepted"] - seen["returned"]), 0.02 * seen["returned"], seen)
        self.assertGreaterEqual(seen["returned"], 0.95 * seen["peak"], seen)
