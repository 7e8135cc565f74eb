# SPDX-License-Identifier: BSD-3-Clause
"""The AF_XDP half of `wake`: echo of the first packet after idle and of a closed loop over a veth pair."""

import json
import os
import subprocess

from refusal import Refusal


def run(quick, build_dir):
    rounds, samples = (3, 50) if quick else (9, 300)
    done = subprocess.run([os.path.join(build_dir, "bench", "af_xdp_wake"), str(rounds), str(samples)],
                          capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        raise Refusal(done.stderr.strip() or f"af_xdp_wake ended with {done.returncode}")
    samples_of = {}
    for line in done.stdout.splitlines():
        figure = json.loads(line)
        samples_of.setdefault(figure["name"], []).append(figure["us"])
    return [{"name": name, "unit": "us", "samples": values} for name, values in samples_of.items()]
