# SPDX-License-Identifier: BSD-3-Clause
"""local-lock: a bottom-half lock that nobody else wants, beside a raw pair of compare-exchanges and a PI mutex."""

import json
import os
import subprocess

from refusal import Refusal


def bench(build_dir, pairs, wakes):
    command = [os.path.join(build_dir, "bench", "locks", "local_lock_bench"), str(pairs), str(wakes)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise Refusal(f"{' '.join(command)}: {done.stderr.strip()}")
    return json.loads(done.stdout.splitlines()[-1])


def run(quick, build_dir):
    rounds, pairs, wakes = (3, 50_000, 50) if quick else (15, 1_000_000, 400)
    seen = [bench(build_dir, pairs, wakes) for _ in range(rounds)]

    def result(name, unit, of):
        return {"name": name, "unit": unit, "samples": [of(s) for s in seen]}

    return [result("cmpxchg_pair", "cycles", lambda s: s["cmpxchg"]),
            result("local_lock_uncontended", "cycles", lambda s: s["local_lock"]),
            result("pthread_pi_uncontended", "cycles", lambda s: s["pthread_pi"]),
            result("local_lock/cmpxchg_pair", "x", lambda s: s["local_lock"] / s["cmpxchg"]),
            result("local_lock/pthread_pi", "x", lambda s: s["local_lock"] / s["pthread_pi"]),
            result("contended_wake", "us", lambda s: s["wake"]),
            result("pthread_pi_contended_wake", "us", lambda s: s["pthread_wake"])]
