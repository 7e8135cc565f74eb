# SPDX-License-Identifier: BSD-3-Clause
"""wake: the time that a packet waits for a sleeping data CPU, and whether a closed loop ever pays for sleeping."""

import wake_af_xdp
import wake_virtio


def run(quick, build_dir):
    return wake_virtio.run(quick, build_dir) + wake_af_xdp.run(quick, build_dir)
