# SPDX-License-Identifier: BSD-3-Clause
"""overload: what is left of the throughput when five times the capacity is offered. What is offered is what the devices
count."""

import overload_af_xdp
import overload_virtio


def run(quick, build_dir):
    return overload_virtio.run(quick, build_dir) + overload_af_xdp.run(quick, build_dir)
