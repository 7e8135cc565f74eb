# SPDX-License-Identifier: BSD-3-Clause
"""The virtio half of `wake`: halfpoll compared with a bare epoll echo on the same fd, and its hybrid with spinning."""

import json
import os
import subprocess

from refusal import Refusal

# Name of the result -> the program that echoes, and the loop that sends.
VARIANTS = {"virtio_first": ("halfpoll", "first"), "virtio_first_bare": ("bare", "first"),
            "virtio_pingpong": ("halfpoll", "pingpong"), "virtio_pingpong_spin": ("spin", "pingpong")}


def run(quick, build_dir):
    rounds = 3 if quick else 9
    counts = {"first": 100 if quick else 400, "pingpong": 5_000 if quick else 50_000}
    samples = {}
    for turn in range(rounds):
        order = list(VARIANTS) if turn % 2 == 0 else list(reversed(VARIANTS))
        for name in order:
            echo, loop = VARIANTS[name]
            for quantile, us in measure(build_dir, echo, loop, counts[loop]).items():
                samples.setdefault(f"{name}_{quantile}", []).append(us)
    return [{"name": name, "unit": "us", "samples": values} for name, values in samples.items()] + ratios(samples)


def ratios(samples):
    """Ratios of samples of the same round, which share the machine's other load."""
    pairs = [("virtio_first_p50", "virtio_first_bare_p50"), ("virtio_first_p99", "virtio_first_bare_p99"),
             ("virtio_pingpong_p50", "virtio_pingpong_spin_p50")]
    return [{"name": f"{a}_ratio", "unit": "x", "samples": [x / y for x, y in zip(samples[a], samples[b])]}
            for a, b in pairs]


def measure(build_dir, echo, loop, count):
    command = [os.path.join(build_dir, "bench", "wake_virtio"), echo, loop, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise Refusal(f"{' '.join(command)}: {done.stderr.strip()}")
    return json.loads(done.stdout)
