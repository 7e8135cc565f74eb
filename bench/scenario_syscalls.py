# SPDX-License-Identifier: BSD-3-Clause
"""syscalls: the system calls of a data CPU at full load on an ethdev port with a polling virtio peer (strace)."""

import virtio_pair


def run(quick, build_dir):
    seen = [virtio_pair.system_calls(build_dir, seconds=2 if quick else 5) for _ in range(1 if quick else 3)]
    figures = {"syscalls_data_core": [s["calls"]["data_core"] for s in seen],
               "syscalls_all_threads": [s["calls"]["all"] for s in seen], "wakeups": [s["wakeups"] for s in seen],
               "rearms": [s["rearms"] for s in seen], "polls": [s["polls"] for s in seen],
               "packets": [s["packets"] for s in seen]}
    return [{"name": f"virtio_{name}", "unit": "in 2 s" if quick else "in 5 s", "samples": samples}
            for name, samples in figures.items()]
