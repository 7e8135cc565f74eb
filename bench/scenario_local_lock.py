# SPDX-License-Identifier: BSD-3-Clause
"""local-lock: an uncontended bottom-half lock, compared with a raw pair of compare-exchanges and a PI mutex; and
mempool handlers for packet pools."""

import json
import os
import subprocess

from refusal import Refusal


POOLS = {"ring_mp_mc": "ring_mp_mc", "ring_mt_rts": "ring_mt_rts", "stack": "stack", "lf_stack": "lf_stack",
         "ring_under_lock": "ring_sp_sc"}


def bench(build_dir, *args):
    command = [os.path.join(build_dir, "bench", "locks", "local_lock_bench"), *(str(a) for a in args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise Refusal(f"{' '.join(command)}: {done.stderr.strip()}")
    return json.loads(done.stdout.splitlines()[-1])


def run(quick, build_dir):
    rounds, pairs, wakes = (3, 50_000, 50) if quick else (15, 1_000_000, 400)
    seen = [bench(build_dir, "locks", pairs, wakes) | bench(build_dir, "pools", pairs // 1000) for _ in range(rounds)]

    def result(name, unit, of):
        return {"name": name, "unit": unit, "samples": [of(s) for s in seen]}

    def pool(variant):
        return result(f"pool_{variant}", "cycles/object", lambda s: s[POOLS[variant]])

    return [result("cmpxchg_pair", "cycles", lambda s: s["cmpxchg"]),
            result("local_lock_uncontended", "cycles", lambda s: s["local_lock"]),
            result("pthread_pi_uncontended", "cycles", lambda s: s["pthread_pi"]),
            result("local_lock/cmpxchg_pair", "x", lambda s: s["local_lock"] / s["cmpxchg"]),
            result("local_lock/pthread_pi", "x", lambda s: s["local_lock"] / s["pthread_pi"]),
            result("contended_wake", "us", lambda s: s["wake"]),
            result("pthread_pi_contended_wake", "us", lambda s: s["pthread_wake"]),
            *(pool(variant) for variant in POOLS)]
