# SPDX-License-Identifier: BSD-3-Clause
"""The virtio half of `overload`: throughput at more than five times the capacity, against the peak of the same run.

virtio_pair.overload() and the README say which counters are used.
"""

import virtio_pair
from refusal import Refusal


def run(quick, build_dir):
    seen = [virtio_pair.overload(build_dir) for _ in range(1 if quick else 7)]
    for s in seen:
        if s["offered"] < 5 * s["peak"]:
            raise Refusal(f"only {s['offered'] / s['peak']:.1f} times the capacity could be offered, not 5: is CPU 1 busy?")
    return [{"name": "virtio_overload_peak", "unit": "packets/s", "samples": [s["peak"] for s in seen]},
            {"name": "virtio_overload_offered", "unit": "x capacity", "samples": [s["offered"] / s["peak"] for s in seen]},
            {"name": "virtio_overload", "unit": "of peak", "samples": [s["returned"] / s["peak"] for s in seen]}]
