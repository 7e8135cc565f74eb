# SPDX-License-Identifier: BSD-3-Clause
"""Load on virtio devices from a polling vhost-user peer: system calls of the data core, fairness to a quiet queue, and
overload. The programs are those of bench/, which measures rates and delays. Those depend on the other load of the
machine, so these tests count operations instead."""

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
        """There are no more system calls than sleeps and interrupt re-arms: none for polling, receiving or sending."""
        seen = virtio_pair.system_calls(BUILD)
        self.assertGreater(seen["packets"], 100_000, "this was no load")
        self.assertLessEqual(seen["calls"]["data_core"], seen["wakeups"] + seen["rearms"], seen)
        self.assertLess(seen["calls"]["all"], seen["polls"] / 100, seen)

    def test_trickle_beside_full_load(self):
        """The quiet queue sleeps until its interrupt while its neighbour never stops, and all its packets are
        served."""
        seen = virtio_pair.trickle(BUILD, windows=10)
        device = seen["device"]
        self.assertGreater(seen["saturated"], 1, "the neighbour was no full load")
        self.assertGreaterEqual(len(seen["delays"]), 30)
        self.assertEqual(device["rung"], "interrupt")
        self.assertGreater(device["interrupts"], 0, device)
        self.assertLessEqual(device["polls"], 2 * device["interrupts"] + 10, "it was polled all the time")
        self.assertEqual(device["park_rescues"], 0)

    def test_overload_without_livelock(self):
        """Under overload the router does not spend its time on packets that it then drops: accepted packets come
        back."""
        seen = virtio_pair.overload(BUILD, windows=3)
        self.assertGreater(seen["offered"], seen["returned"], seen)
        self.assertGreater(seen["returned"], 0, seen)
        self.assertLess(abs(seen["accepted"] - seen["returned"]), 0.1 * seen["returned"], seen)
