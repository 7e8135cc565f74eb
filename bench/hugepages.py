# SPDX-License-Identifier: BSD-3-Clause
"""Borrows 2-MiB hugepages from the system for the duration of a scenario."""

import contextlib

from refusal import Refusal

POOL = "/sys/kernel/mm/hugepages/hugepages-2048kB/"


def read(name):
    with open(POOL + name, encoding="ascii") as f:
        return int(f.read())


@contextlib.contextmanager
def hugepages(count):
    try:
        before = read("nr_hugepages")
    except OSError as e:
        raise Refusal("this kernel has no 2-MiB hugepages") from e
    missing = count - read("free_hugepages")
    try:
        if missing > 0:
            resize(before + missing)
        if read("free_hugepages") < count:
            raise Refusal(f"only {read('free_hugepages')} of {count} hugepages of 2 MiB can be had: free some memory")
        yield
    finally:
        if missing > 0 and read("nr_hugepages") != before:
            resize(before)


def resize(count):
    try:
        with open(POOL + "nr_hugepages", "w", encoding="ascii") as f:
            f.write(str(count))
    except PermissionError as e:
        raise Refusal(f"needs {count} hugepages of 2 MiB: run as root, or sysctl vm.nr_hugepages={count}") from e
