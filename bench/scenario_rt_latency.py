# SPDX-License-Identifier: BSD-3-Clause
"""rt-latency: the time that an urgent packet waits for a long bottom half on its CPU, in the exclusion modes. See
README.md."""

import json
import math
import os
import random
import subprocess

import rt_trace
from refusal import Refusal
from report import result

VARIANTS = ("floor", "nested", "nested_irq", "big")
TRACED = ("big", "nested", "nested_irq")
QUANTILES = (("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1))
# Ratios of the slices of one round, which run back to back. Required: <= 1.5 for the first, and >= 20 for the last.
RATIOS = (("nested", "floor"), ("nested_irq", "floor"), ("big", "nested"))


def run(quick, build_dir):
    rounds, wakes = (2, 100) if quick else (12, 2000)
    cpu = max(os.sched_getaffinity(0))
    slices = {variant: [] for variant in VARIANTS}
    dispatches, lock_waits = [], []
    for turn in range(rounds):
        for variant in random.Random(turn).sample(VARIANTS, len(VARIANTS)):
            seen = one_slice(build_dir, variant, cpu, wakes)
            slices[variant].append(sorted(ns / 1e3 for ns in seen["ns"]))
            if variant != "floor":
                dispatches.append(seen["dispatch_us"])
            if variant == "nested":
                lock_waits.append(1000 * seen["lock_waits"] / wakes)
    for variant in TRACED:
        print(f"{variant}, one wake of the urgent thread, in us:", *rt_trace.picture(build_dir, variant, cpu), "", sep="\n")
    return [*(row for variant in VARIANTS for row in latencies(variant, slices[variant])),
            *(ratio(slices, *pair) for pair in RATIOS),
            result("nested_lock_waits", "per 1000 wakes", lock_waits),
            result("dispatch", "us", dispatches)]


def one_slice(build_dir, variant, cpu, wakes):
    command = [os.path.join(build_dir, "bench", "locks", "rt_latency"), variant, str(cpu), str(wakes)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise Refusal(f"{' '.join(command)}: {done.stderr.strip()}")
    seen = json.loads(done.stdout)
    if seen["drops"] != 0 or len(seen["ns"]) != wakes:
        raise Refusal(f"rt_latency {variant}: {seen['drops']} packets dropped, {len(seen['ns'])} of {wakes} measured")
    return seen


def latencies(variant, slices):
    """Yields each quantile of every slice; p99 and p99.9 also of all wake-ups together."""
    pooled = sorted(us for one in slices for us in one)
    for suffix, q in QUANTILES:
        yield result(f"{variant}_{suffix}", "us", [quantile(one, q) for one in slices])
    for suffix, q in QUANTILES[1:3]:
        yield {"name": f"{variant}_{suffix}_pooled", "unit": "us", "samples": [quantile(pooled, q)], "wakes": len(pooled)}


def ratio(slices, a, b):
    return result(f"{a}/{b}_p999", "ratio", [quantile(x, 0.999) / quantile(y, 0.999) for x, y in zip(slices[a], slices[b])])


def quantile(ordered, q):
    """The smallest value such that the share `q` of the values is not above it."""
    return ordered[max(math.ceil(q * len(ordered)) - 1, 0)]
