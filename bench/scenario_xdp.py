# SPDX-License-Identifier: BSD-3-Clause
"""xdp: the cost of the hook for XDP programs, in cycles per packet, and of the kernel's XDP on veth. See README.md."""

import os
import subprocess

import xdp_kernel
from hugepages import hugepages
from refusal import Refusal
from report import result
from scenario_forward import CONTROL, EAL, WORKER

HUGEPAGES = 128  # of 2 MiB
# Variant -> the same without the hook. The hook's cost is the difference, round by round.
WITHOUT_HOOK = {"empty": "no_hook", "pass": "no_hook", "tx": "no_hook", "drop": "no_hook_drop",
                "redirect_devmap": "no_hook", "redirect_cpumap": "no_hook"}
# Variant -> its floor, which runs the driver only.
FLOOR = {"no_hook": "floor", "empty": "floor", "pass": "floor", "tx": "floor", "no_hook_drop": "floor_drop",
         "redirect_devmap": "floor", "redirect_cpumap": "floor",
         "drop": "floor_drop"}


def run(quick, build_dir):
    if os.cpu_count() < 2:
        raise Refusal("needs two CPUs: one works, one controls")
    processes, rounds, packets = (1, 3, 1 << 19) if quick else (5, 10, 1 << 21)
    samples = {}
    with hugepages(HUGEPAGES):
        for _ in range(processes):  # each process has its memory at other addresses
            for name, cycles in one_process(build_dir, rounds, packets).items():
                samples.setdefault(name, []).extend(cycles)
    results = [result(name, "cycles/packet", cycles) for name, cycles in samples.items()]
    for kind, pairs in (("floor", FLOOR), ("hook", WITHOUT_HOOK)):
        results += [result(f"{name}_over_{kind}" if kind == "floor" else f"{name}_hook_cost", "cycles/packet",
                           [a - b for a, b in zip(samples[name], samples[base])]) for name, base in pairs.items()]
    results += [result(f"{name}_over_tx", "cycles/packet", [a - b for a, b in zip(samples[name], samples["tx"])])
                for name in ("redirect_devmap", "redirect_cpumap")]
    return results + kernel(quick, build_dir)


def one_process(build_dir, rounds, packets):
    """Returns {variant: [cycles of each round]}."""
    program = os.path.join(build_dir, "bench", "xdp", "xdp_bench")
    command = [program, *EAL, "-l", str(CONTROL), "--", str(WORKER), str(rounds), str(packets)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode != 0:
        raise Refusal(f"xdp_bench failed: {done.stderr[-2000:]}")
    cycles = {}
    for line in done.stdout.splitlines():
        words = line.split()
        if len(words) == 2 and (words[0] in FLOOR or words[0] in FLOOR.values()):
            cycles.setdefault(words[0], []).append(float(words[1]))
    if any(len(values) != rounds for values in cycles.values()) or len(cycles) != len(set(FLOOR) | set(FLOOR.values())):
        raise Refusal(f"xdp_bench printed no result for every round: {done.stdout[-2000:]}")
    return cycles


def kernel(quick, build_dir):
    ns = {}
    for _ in range(2 if quick else 9):
        for verdict, cost in xdp_kernel.measure(build_dir, WORKER, 1 << (17 if quick else 20)).items():
            ns.setdefault(f"kernel_veth_{verdict}", []).append(cost)
    return [result(name, "ns/packet", values) for name, values in ns.items()]
