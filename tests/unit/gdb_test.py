#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""gdb_test.py PROGRAM: what the printers of tools/gdb show of the objects in gdb_subjects.cpp. Exit status 77 means
skipped."""

import pathlib
import shutil
import subprocess
import sys

PRINTERS = pathlib.Path(__file__).resolve().parents[2] / "tools" / "gdb" / "halfpoll.py"
EXPECTED = {
    "mbuf": "port 3, 1514 bytes in 2 segments (the first: 1024), refcnt 1, "
            "ol_flags RX_RSS_HASH|RX_VLAN_STRIPPED|RX_IP_CKSUM_NONE|TX_UDP_CKSUM",
    "napi": "lan-0: SCHED|MISSED|LISTED, CPU 2, rung interrupt, weight 64, 7 polls, 300 packets",
    "sd": "CPU 2: online, awake, pending NET_RX|HRTIMER, poll_list [lan-0 wan-1], spin_list []",
    "ring": "to CPU 5: 4 packets staged, 3 published, 2 taken and not delivered, 9 dropped, 64 slots",
}


def skip(why):
    print("skipped:", why)
    return 77


def main():
    if not shutil.which("gdb"):
        return skip("gdb is not installed")
    commands = [f"source {PRINTERS}", "set breakpoint pending on", "break stop_here", "run"]
    commands += [f'python print("{name} =", gdb.selected_frame().read_var("{name}").referenced_value().format_string())'
                 for name in EXPECTED]
    arguments = [word for command in commands for word in ("-ex", command)]
    done = subprocess.run(["gdb", "-nx", "-batch", *arguments, sys.argv[1]], text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, check=False)
    if "ptrace" in done.stdout:
        return skip("ptrace(2) is refused here")
    if "Python scripting is not supported" in done.stdout:
        return skip("gdb has no Python")
    lines = [f"{name} = {text}" for name, text in EXPECTED.items()]
    wrong = [line for line in lines if line not in done.stdout.splitlines()]
    if wrong:
        print(*(f"not printed: {line}" for line in wrong), done.stdout, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
