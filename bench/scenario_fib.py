# SPDX-License-Identifier: BSD-3-Clause
"""Lookup and update costs of the forwarding tables alone. See README.md, `fib`."""

import json
import os
import subprocess

from refusal import Refusal

WORKER = 1  # logical CPU
SHORT = {1: "1", 4096: "4k", 10_000: "10k", 100_000: "100k", 200_000: "200k", 1_000_000: "1m", 1 << 20: "1m"}
UNITS = {"cycles": "cycles/lookup", "ns": "ns/update", "ms": "ms", "MB": "MB"}


def run(quick, build_dir):
    rounds, seconds = (2, 0.05) if quick else (9, 0.3)
    samples = {}
    for _ in range(rounds):  # each round measures all tables, so that the samples of a table are spread over time
        for result in one_round(os.path.join(build_dir, "bench", "fib", "fib_bench"), seconds):
            for name, unit, value in figures(result):
                samples.setdefault((name, unit), []).append(value)
    return [{"name": name, "unit": unit, "samples": values} for (name, unit), values in samples.items()]


def figures(result):
    what, *sizes = result["name"].split("/")
    name = "_".join([what, *(SHORT[int(s)] for s in sizes if s.isdigit())])
    for key, unit in UNITS.items():
        if key in result:
            yield name if key != "MB" else name.replace("load", "memory"), unit, result[key]


def one_round(program, seconds):
    command = ["taskset", "-c", str(WORKER % os.cpu_count()), program, f"--benchmark_min_time={seconds}",
               "--benchmark_format=json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    except subprocess.TimeoutExpired as e:
        raise Refusal("fib_bench does not finish") from e
    if done.returncode != 0:
        raise Refusal(f"fib_bench failed: {done.stderr[-2000:]}")
    return [{**r, "name": r["name"].replace("/iterations:1", "")} for r in json.loads(done.stdout)["benchmarks"]]
