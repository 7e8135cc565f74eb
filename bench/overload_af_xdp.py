# SPDX-License-Identifier: BSD-3-Clause
"""The AF_XDP half of `overload`: throughput when at least five times the capacity is offered, against the peak.

`afxdp_overload_other`: the kernel's NAPI runs on the sender's CPU. `…_same_above`, `…_same_fair`, `…_same_below`: on the
worker's CPU, with higher priority than the worker (as a softirq has), as an equal, and with lower priority (threaded NAPI
below a SCHED_FIFO worker: the mitigation). `…_flood` is the same with as much as the fastest sender can offer.
"""

import json
import os
import subprocess

from refusal import Refusal


def run(quick, build_dir):
    rounds, ms = (1, 300) if quick else (7, 600)
    done = subprocess.run([os.path.join(build_dir, "bench", "af_xdp_overload"), str(rounds), str(ms)],
                          capture_output=True, text=True, timeout=600, check=False)
    if done.returncode != 0:
        raise Refusal(done.stderr.strip() or f"af_xdp_overload ended with {done.returncode}")
    results = {}
    for line in done.stdout.splitlines():
        collect(results, json.loads(line))
    return list(results.values())


def collect(results, r):
    # Capacity and peak are those of placement `other` and of the placement itself; what is offered is what the devices
    # counted.
    name = "afxdp_overload_" + r["placement"]
    add(results, name + "_peak", "packets/s", r["peak"])
    add(results, name + "_offered", "x capacity", r["offered"] / r["capacity"])
    add(results, name, "of peak", r["echoed"] / r["peak"])
    add(results, name + "_of_capacity", "of capacity", r["echoed"] / r["capacity"])
    add(results, name + "_flood_offered", "x capacity", r["flood_offered"] / r["capacity"])
    add(results, name + "_flood", "of capacity", r["flood_echoed"] / r["capacity"])


def add(results, name, unit, value):
    results.setdefault(name, {"name": name, "unit": unit, "samples": []})["samples"].append(value)
