# SPDX-License-Identifier: BSD-3-Clause
"""autoscale: load rises from nothing to 1.6 CPUs and falls again while CPUs are parked and come back."""

import os
import subprocess

from refusal import Refusal

# Name of a figure that autoscale_ramp prints -> its unit.
RESULTS = {"packets": "", "lost": "", "reordered": "", "late": "packets", "late_in_reaction": "packets",
           "late_by_absence": "packets", "longest_us": "us", "reaction_us": "us", "return_us": "us", "park_us": "us",
           "parked": "CPUs", "returned": "CPUs", "absences": "", "absence_us": "us"}


def run(quick, build_dir):
    samples = {name: [] for name in RESULTS}
    for _ in range(1 if quick else 7):
        seen = ramp(build_dir, 2 if quick else 6)
        for name, values in samples.items():
            values.append(seen[name])
    return [{"name": f"autoscale_{name}", "unit": unit, "samples": samples[name]} for name, unit in RESULTS.items()]


def ramp(build_dir, seconds):
    done = subprocess.run([os.path.join(build_dir, "bench", "autoscale_ramp"), str(seconds)], stdout=subprocess.PIPE,
                          text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise Refusal("autoscale_ramp failed")
    seen = {name: int(value) for name, value in (line.split() for line in done.stdout.splitlines())}
    if seen["lost"] or seen["reordered"] or not seen["returned"]:
        raise Refusal(f"packets were lost or reordered, or no CPU came back: {seen}")
    if seen["late"]:
        raise Refusal(f"packets were late though nobody reacted to load and no core was away: {seen}")
    return seen
