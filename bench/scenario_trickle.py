# SPDX-License-Identifier: BSD-3-Clause
"""trickle: 10 packets/s on one queue, while another queue of the same CPU is offered more than the CPU can do."""

import virtio_pair


def run(quick, build_dir):
    p50, p99, bound, interrupts = [], [], [], []
    for _ in range(1 if quick else 7):
        seen = virtio_pair.trickle(build_dir, windows=4 if quick else 10)
        delays = seen["delays"]
        p50.append(delays[len(delays) // 2])
        p99.append(delays[len(delays) * 99 // 100])
        bound.append(seen["bound"])
        interrupts.append(seen["device"]["interrupts"] / seen["device"]["packets"])
    return [{"name": "trickle_p50", "unit": "us", "samples": p50}, {"name": "trickle_p99", "unit": "us", "samples": p99},
            {"name": "trickle_bound", "unit": "us", "samples": bound},
            {"name": "trickle_interrupts", "unit": "per packet", "samples": interrupts}]
