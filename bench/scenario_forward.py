# SPDX-License-Identifier: BSD-3-Clause
"""Cycles per forwarded packet on one core, compared with DPDK's own forwarders. See README.md, `forward`."""

import functools
import os
import random
import shutil
import subprocess
import tempfile

import forward_tables
from hugepages import hugepages
from refusal import Refusal

L3FWD_SOURCES = "/usr/share/dpdk/examples"
HUGEPAGES = 512  # of 2 MiB, for rte_fib with a million routes, frames and destinations
EAL = ["--in-memory", "--no-pci", "--no-telemetry", "--log-level=*:4", "--force-max-simd-bitwidth=512",
       "--vdev=net_ring0"]
CONTROL, WORKER = 0, 1  # logical CPUs
SMALL, LARGE = 1 << 18, 1 << 20  # numbers of destinations
# Variants that are compared run back to back: other guests of a shared machine slow it down for seconds at a time.
GROUPS = (("testpmd_io",), ("l3fwd_lpm", "bare_fib_1", "halfpoll_1"), ("bare_fib_10k", "halfpoll_10k"),
          ("bare_fib_1m", "halfpoll_1m"))
RATIOS = (("bare_fib_1", "l3fwd_lpm"), ("halfpoll_1", "l3fwd_lpm"), ("halfpoll_10k", "bare_fib_10k"),
          ("halfpoll_1m", "bare_fib_1m"))


def run(quick, build_dir):
    if os.cpu_count() < 2:
        raise Refusal("needs two CPUs: one forwards, one controls")
    programs = os.path.join(build_dir, "bench", "forward")
    l3fwd = build_l3fwd(os.path.join(programs, "l3fwd"))
    variants = {v["name"]: v for v in make_variants(programs, l3fwd)}
    samples = {name: [] for name in variants}
    rounds, windows, packets = (3, 3, 1 << 20) if quick else (15, 5, 1 << 22)
    with hugepages(HUGEPAGES):
        for turn in range(rounds):
            for name in order_of(turn):
                samples[name].append(one_run(variants[name], programs, windows, packets))
    cycles = [{"name": name, "unit": "cycles/packet", "samples": samples[name]} for name in variants]
    return cycles + [{"name": f"{a}/{b}", "unit": "ratio", "samples": [x / y for x, y in zip(samples[a], samples[b])]}
                     for a, b in RATIOS]


def order_of(turn):
    """The variants of one round: the groups in random order, and the members of each group in random order. The order
    depends on `turn` alone."""
    shuffle = random.Random(turn).shuffle
    groups = [list(g) for g in GROUPS]
    shuffle(groups)
    for group in groups:
        shuffle(group)
    return [name for group in groups for name in group]


def make_variants(programs, l3fwd):
    single, routes10k, routes1m = tables(os.path.join(programs, "tables"))
    return [
        {"name": "testpmd_io", "table": single, "ttl": 64, "command": testpmd},
        {"name": "l3fwd_lpm", "table": single, "ttl": 63, "command": functools.partial(l3fwd_lpm, l3fwd)},
    ] + [
        {"name": f"{name}_{suffix}", "table": table, "ttl": 63, "command": functools.partial(ours, programs, program)}
        for suffix, table in (("1", single), ("10k", routes10k), ("1m", routes1m))
        for name, program in (("bare_fib", "bare_fib"), ("halfpoll", "halfpoll_loop"))
    ]


def tables(directory):
    return (forward_tables.write(directory, "1", forward_tables.single_route, SMALL),
            forward_tables.write(directory, "10k", lambda: forward_tables.routes(10_000, seed=1), LARGE),
            forward_tables.write(directory, "1m", lambda: forward_tables.routes(1_000_000, seed=1), LARGE))


def testpmd(_routes, _scratch):
    return ["dpdk-testpmd"] + EAL + ["-l", f"{CONTROL},{WORKER}", "--", "--forward-mode=io", "--nb-cores=1", "--burst=32",
                                            "--port-topology=loop", "--no-flush-rx"]


def l3fwd_lpm(binary, _routes, scratch):
    rules = os.path.join(scratch, "rules4"), os.path.join(scratch, "rules6")
    for path, rule in zip(rules, ("R10.0.0.0/8 0\n", "R2001:db8::/32 0\n")):
        with open(path, "w", encoding="ascii") as out:
            out.write(rule)
    # One lcore only: each has a tx queue of its own, and queue 0 is the loop.
    return [binary] + EAL + ["-l", str(WORKER), "--", "-p", "1", "-P", f"--config=(0,0,{WORKER})", "--parse-ptype", "--lookup=lpm",
                                    f"--rule_ipv4={rules[0]}", f"--rule_ipv6={rules[1]}"]


def ours(programs, program, routes, _scratch):
    binary = os.path.join(programs, program)
    if program == "bare_fib":
        return [binary] + EAL + ["-l", f"{CONTROL},{WORKER}", "--", routes, os.environ.get("BARE_FIB_LOOKUP", "vector")]
    return [binary] + EAL + ["-l", str(CONTROL), "--", routes, str(WORKER)]


def one_run(variant, programs, windows, packets):
    return run_program(variant, programs, windows, packets)[0]


def run_program(variant, programs, windows, packets):
    """Runs the program until the shim ends it. Returns the median of its windows (cycles per packet) and its output."""
    routes, destinations = variant["table"]
    with tempfile.TemporaryDirectory(prefix="halfpoll-bench-") as scratch:
        result = os.path.join(scratch, "result")
        env = dict(os.environ, LD_PRELOAD=os.path.join(programs, "loop_shim.so"), LOOP_DESTINATIONS=destinations,
                   LOOP_TTL=str(variant["ttl"]), LOOP_RESULT=result, LOOP_WINDOWS=str(windows),
                   LOOP_PACKETS=str(packets))
        try:  # stdin is a pipe without data, because testpmd ends when it reads something
            done = subprocess.run(variant["command"](routes, scratch), env=env, stdin=open_pipe(),
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, check=False)
        except FileNotFoundError as e:
            raise Refusal(f"{e.filename} is not installed: apt-get install dpdk-dev") from e
        except subprocess.TimeoutExpired as e:
            raise Refusal(f"{variant['name']} does not finish: {e.stdout.decode(errors='replace')[-2000:]}") from e
        if done.returncode != 0:
            raise Refusal(f"{variant['name']} failed: {done.stdout.decode(errors='replace')[-2000:]}")
        with open(result, encoding="ascii") as f:
            lines = [line.split() for line in f]
    cycles = sorted(float(line[0]) for line in lines[1:])
    bursts = min(float(line[1]) for line in lines[1:])
    if bursts < 31:
        raise Refusal(f"{variant['name']}: bursts of {bursts} packets instead of 32")
    return cycles[len(cycles) // 2], done.stdout.decode(errors="replace")


@functools.cache
def open_pipe():
    return os.pipe()[0]


def build_l3fwd(directory):
    """Builds Debian's example with its own flags. The example demands rx checksum offload, which a ring does not have;
    the patch removes that demand, and nothing else."""
    if not os.path.exists(os.path.join(L3FWD_SOURCES, "l3fwd", "main.c")):
        raise Refusal("the sources of l3fwd are missing: apt-get install dpdk-doc")
    binary = os.path.join(directory, "l3fwd", "build", "l3fwd")
    if os.path.exists(binary):
        return binary
    shutil.rmtree(directory, ignore_errors=True)
    for part in ("common", "l3fwd"):
        shutil.copytree(os.path.join(L3FWD_SOURCES, part), os.path.join(directory, part))
    main = os.path.join(directory, "l3fwd", "main.c")
    demand = ".offloads = RTE_ETH_RX_OFFLOAD_CHECKSUM,"
    subprocess.run(["sed", "-i", f"s/{demand}/.offloads = 0,/", main], check=True)
    done = subprocess.run(["make", "-C", os.path.join(directory, "l3fwd")], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Refusal(f"l3fwd does not build: {done.stderr[-2000:]}")
    return binary
