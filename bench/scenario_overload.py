# SPDX-License-Identifier: BSD-3-Clause
"""overload: the throughput that is left when five times the capacity is offered. The devices count the offered load."""

import overload_af_xdp
import overload_virtio


def run(quick, build_dir):
    return overload_virtio.run(quick, build_dir) + overload_af_xdp.run(quick, build_dir)
