# SPDX-License-Identifier: BSD-3-Clause
"""exclusion: the cost of modes big and nested for the forwarding path with one thread per CPU, compared with exclusive.
See README.md."""

import os
import random
import re

import forward_tables
from callgrind import instructions
from hugepages import hugepages
from refusal import Refusal
from report import result
from scenario_forward import CONTROL, EAL, HUGEPAGES, SMALL, WORKER, run_program

MODES = ("exclusive", "big", "nested")
POLLS = 100


def run(quick, build_dir):
    if os.cpu_count() < 2:
        raise Refusal("needs two CPUs: one forwards, one controls")
    programs = os.path.join(build_dir, "bench", "forward")
    table = forward_tables.write(os.path.join(programs, "tables"), "1", forward_tables.single_route, SMALL)
    rounds, windows, packets = (3, 3, 1 << 20) if quick else (40, 5, 1 << 22)
    cycles, locks = {mode: [] for mode in MODES}, {mode: [] for mode in MODES}
    with hugepages(HUGEPAGES):
        for turn in range(rounds):
            for mode in random.Random(turn).sample(MODES, len(MODES)):
                seen, printed = run_program(variant(programs, mode, table), programs, windows, packets)
                cycles[mode].append(seen)
                locks[mode].append(float(re.search(r"^turns_per_poll ([0-9.]+)$", printed, re.M)[1]))
    over = {mode: [a - b for a, b in zip(cycles[mode], cycles["exclusive"])] for mode in MODES[1:]}
    return [*(result(mode, "cycles/packet", cycles[mode]) for mode in MODES),
            *(result(f"{mode}_over_exclusive", "cycles/packet", over[mode]) for mode in over),
            *(result(f"{mode}_locks", "pairs/64 packets", locks[mode]) for mode in over),
            *({"name": f"{mode}_instructions", "unit": f"in {POLLS} polls of 64", "samples": [counted(build_dir, mode)]}
              for mode in MODES)]


def counted(build_dir, mode):
    program = os.path.join(build_dir, "bench", "locks", "exclusion_count")
    return instructions([program, mode, str(POLLS)], "--collect-atstart=no")


def variant(programs, mode, table):
    def command(routes, _scratch):
        return [os.path.join(programs, "halfpoll_loop"), *EAL, "-l", str(CONTROL), "--", routes, str(WORKER), mode]
    return {"name": mode, "table": table, "ttl": 63, "command": command}
