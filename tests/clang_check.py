#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""tests/clang_check.py DIR: checks, without code generation, the C++ sources that the build in DIR has not compiled."""

import concurrent.futures
import json
import os
import pathlib
import shlex
import subprocess
import sys

folder = pathlib.Path(sys.argv[1])


def check(entry):
    """Returns what the compiler says; empty if it is content."""
    words = shlex.split(entry["command"])
    words = words[:words.index("-o")] + ["-O0", "-fsyntax-only", entry["file"]]
    words = [w for w in words if w not in ("-MD",)]
    for option in ("-MQ", "-MF", "-include-pch"):
        if option in words:
            at = words.index(option)
            del words[at:at + 2]
    done = subprocess.run(words, cwd=entry["directory"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False)
    return "" if done.returncode == 0 else f"{entry['file']}\n{done.stdout}"


entries = json.loads((folder / "compile_commands.json").read_text(encoding="utf-8"))
left = [e for e in entries if e["file"].endswith(".cpp") and not (folder / e["output"]).exists()]
with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    faults = [text for text in pool.map(check, left) if text]
print(*faults, sep="\n")
print(f"{len(left)} files, {len(faults)} with errors")
sys.exit(bool(faults))
