# SPDX-License-Identifier: BSD-3-Clause
"""Counts the instructions of a program. The same work gives the same count in each run, however busy the machine is."""

import re
import subprocess
import tempfile

from refusal import Refusal


def instructions(command, *options):
    """Runs a command under callgrind and returns the instructions counted. The options select the part that counts."""
    with tempfile.NamedTemporaryFile() as out:
        whole = ["valgrind", "--tool=callgrind", "--fair-sched=yes", f"--callgrind-out-file={out.name}", *options, *command]
        try:
            done = subprocess.run(whole, capture_output=True, text=True, timeout=120, check=False)
        except FileNotFoundError as e:
            raise Refusal("valgrind is not installed: apt-get install valgrind") from e
        if done.returncode != 0:
            raise Refusal(f"{' '.join(whole)}: {done.stderr.strip()}")
        return int(re.search(r"^totals: (\d+)$", out.read().decode(), re.M)[1])
