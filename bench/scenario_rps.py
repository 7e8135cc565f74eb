# SPDX-License-Identifier: BSD-3-Clause
"""rps: the cost of handing packets to another CPU, compared with a bare ring and with the kernel's RPS."""

import json
import math
import os
import random
import subprocess

import rps_kernel
from callgrind import instructions
from refusal import Refusal

BURSTS = (1, 32, 64)
POOLS = (2047, 16383)


class Samples:
    def __init__(self):
        self.of = {}

    def add(self, name, unit, value):
        self.of.setdefault((name, unit), []).append(value)

    def results(self):
        return [{"name": name, "unit": unit, "samples": values} for (name, unit), values in self.of.items()]


def bench(build_dir, *args):
    # SCHED_FIFO: other work on these CPUs waits.
    command = ["chrt", "-f", "1", os.path.join(build_dir, "bench", "rps", "rps_bench"), *(str(a) for a in args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        raise Refusal(f"{' '.join(command)}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def awake(samples, build_dir, burst, ms):
    """Measures all variants once, one after the other. Ratios are of measurements of the same round."""
    cost = {}
    variants = ["ring", "ipi", "thread"]
    random.shuffle(variants)
    for variant in variants:
        seen = bench(build_dir, "awake", variant, burst, ms)
        cost[variant] = seen["sender"] + seen["receiver"]
        name = f"rte_ring_{burst}" if variant == "ring" else f"handover_{variant}_{burst}"
        samples.add(name, "cycles/packet", cost[variant])
    for variant in ("ipi", "thread"):
        samples.add(f"ratio_{variant}_{burst}", "x rte_ring", cost[variant] / cost["ring"])


def asleep(samples, build_dir, burst, rounds):
    for variant in ("ipi", "thread"):
        seen = bench(build_dir, "asleep", variant, burst, rounds)
        samples.add(f"handover_{variant}_{burst}_asleep", "cycles/packet", seen["sender"] + seen["receiver"])
        if burst == 1:
            samples.add(f"wake_{variant}_p50", "us", seen["p50"])
            samples.add(f"wake_{variant}_p99", "us", seen["p99"])


def local(samples, build_dir, pieces, packets):
    """Measures pairs of pieces in one process, which reports their median."""
    seen = bench(build_dir, "local", pieces, packets)
    samples.add("local_without_threads", "cycles/packet", seen["big"])
    samples.add("local_with_threads", "cycles/packet", seen["thread"])
    samples.add("local_ratio", "with/without", seen["ratio"])


def median_interval(values, confidence=0.95):
    """The confidence interval of the median by order statistics, which assume nothing about the distribution."""
    ordered = sorted(values)
    n = len(ordered)
    tail, k = 0.0, 0  # 2 * tail is the probability that the median lies outside ordered[k - 1]..ordered[n - k]
    while k < n // 2 and 2 * (tail + math.comb(n, k) / 2**n) <= 1 - confidence:
        tail += math.comb(n, k) / 2**n
        k += 1
    k = max(k - 1, 0)
    return ordered[k], ordered[n - 1 - k]


def local_interval(samples):
    low, high = median_interval(samples.of["local_ratio", "with/without"])
    samples.add("local_ratio_low", "95 % confidence", low)
    samples.add("local_ratio_high", "95 % confidence", high)


def local_instructions(samples, build_dir, packets):
    """Counts the instructions of the NET_RX dispatches of a CPU that steers `packets` packets to itself."""
    for mode, name in (("big", "without"), ("thread", "with")):
        counted = instructions([os.path.join(build_dir, "bench", "rps", "rps_bench"), "local", mode, str(packets)],
                               "--toggle-collect=halfpoll::net_rx_action(halfpoll::softnet_data&)")
        samples.add(f"local_instructions_{name}_threads", f"in {packets} packets", counted)


def defer(samples, build_dir, mbufs, ms):
    limits = [0, 128]
    random.shuffle(limits)
    cost = {}
    for limit in limits:
        seen = bench(build_dir, "defer", limit, ms, mbufs)
        cost[limit] = seen["sender"] + seen["receiver"]
        samples.add(f"defer_{limit or 'off'}_{mbufs}", "cycles/packet", cost[limit])
    samples.add(f"defer_ratio_{mbufs}", "128/off", cost[128] / cost[0])


def scale(samples, build_dir, ms):
    one, two = (bench(build_dir, "scale", cpus, ms)["mpps"] for cpus in (1, 2))
    samples.add("one_cpu", "Mpps", one)
    samples.add("two_cpus", "Mpps", two)
    samples.add("speedup_two_cpus", "x", two / one)


def run(quick, build_dir):
    rounds, ms = (2, 60) if quick else (15, 200)
    samples = Samples()
    for _ in range(rounds):
        for burst in BURSTS:
            awake(samples, build_dir, burst, ms)
        for burst in BURSTS:
            asleep(samples, build_dir, burst, 50 if quick else 300)
        local(samples, build_dir, *((10, 25_600) if quick else (60, 102_400)))
        for mbufs in POOLS:
            defer(samples, build_dir, mbufs, ms)
        scale(samples, build_dir, ms)
    local_interval(samples)
    local_instructions(samples, build_dir, 12_800)
    for _ in range(1 if quick else 7):
        samples.add("kernel_rps", "ns/packet", rps_kernel.measure(build_dir, 300 if quick else 1000))
    return samples.results()
