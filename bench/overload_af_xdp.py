# SPDX-License-Identifier: BSD-3-Clause
"""The AF_XDP half of `overload`: throughput when at least five times the capacity is offered, against the peak.

In `afxdp_overload_other` the kernel's NAPI runs on the sender's CPU. In `…_same_above`, `…_same_fair` and
`…_same_below` it runs on the worker's CPU, at a higher priority than the worker (as a softirq has), an equal one, and
a lower one (threaded NAPI below a SCHED_FIFO worker: the mitigation). `…_flood` is the same with as much as the
fastest sender can offer. The devices count the offered load. Capacity is that of placement `other` in the same round.
`other`, which has a required value, gets most rounds, because the work of a virtual CPU in a second varies by a tenth
at any load.
"""

import json
import os
import statistics
import subprocess

from refusal import Refusal

# The kernel stops a SCHED_FIFO thread that never sleeps for 50 ms in each second: each window of 1 s has one such gap.
WINDOW_MS = 1000


def run(quick, build_dir):
    placements = {}
    for line in measure(build_dir, 1 if quick else 5) + ([] if quick else measure(build_dir, 16, "other")):
        r = json.loads(line)
        placements.setdefault(r["placement"], []).append(r)
    return [figure for name, runs in placements.items() for figure in figures("afxdp_overload_" + name, runs)]


def measure(build_dir, rounds, *placements):
    done = subprocess.run([os.path.join(build_dir, "bench", "af_xdp_overload"), str(rounds), str(WINDOW_MS), *placements],
                          capture_output=True, text=True, timeout=600, check=False)
    if done.returncode != 0:
        raise Refusal(done.stderr.strip() or f"af_xdp_overload ended with {done.returncode}")
    return done.stdout.splitlines()


def figures(name, runs):
    # The peak is the offered load with the best median over the rounds; the overload is the last load. The two are
    # compared round by round, because the machine's speed drifts by more than a few per cent between rounds.
    medians = [statistics.median(loads) for loads in zip(*(r["echoed"] for r in runs))]
    peak = max(medians)
    best = medians.index(peak)
    return [
        {"name": name, "unit": "of peak", "samples": [r["echoed"][-1] / r["echoed"][best] for r in runs]},
        {"name": name + "_peak", "unit": "packets/s", "samples": [peak]},
        {"name": name + "_offered", "unit": "x capacity", "samples": [r["offered"] / r["capacity"] for r in runs]},
        {"name": name + "_of_capacity", "unit": "of capacity",
         "samples": [r["echoed"][-1] / r["capacity"] for r in runs]},
        {"name": name + "_flood", "unit": "of capacity", "samples": [r["flood_echoed"] / r["capacity"] for r in runs]},
        {"name": name + "_flood_offered", "unit": "x capacity",
         "samples": [r["flood_offered"] / r["capacity"] for r in runs]},
    ]
