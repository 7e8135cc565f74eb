# SPDX-License-Identifier: BSD-3-Clause
"""Routing tables and destinations of scenario `forward`. They are made once, from fixed seeds."""

import os
import random
import struct
from array import array

NEXTHOPS = 16
# Prefix length -> per cent of the routes: roughly the Internet's table, plus a few longer than /24.
LENGTHS = {16: 2, 17: 1, 18: 2, 19: 3, 20: 5, 21: 5, 22: 11, 23: 9, 24: 60, 28: 1, 32: 1}


def unicast(rng):
    while True:
        addr = rng.getrandbits(32)
        if addr >> 24 not in (0, 127) and addr >> 24 < 224:
            return addr


def single_route():
    return [(10 << 24, 8, 0)]


def routes(count, seed):
    rng = random.Random(seed)
    lengths, weights = list(LENGTHS), list(LENGTHS.values())
    seen = set()
    while len(seen) < count:
        length = rng.choices(lengths, weights)[0]
        addr = unicast(rng) >> (32 - length) << (32 - length)
        seen.add((addr, length))
    return [(addr, length, rng.randrange(NEXTHOPS)) for addr, length in sorted(seen)]


def destinations(table, count, seed):
    """`count` distinct addresses, spread over the table's prefixes."""
    rng = random.Random(seed)
    found = {}
    while len(found) < count:
        addr, length, _ = table[rng.randrange(len(table))]
        found[addr | rng.getrandbits(32) >> length] = None
    return array("I", found)


def write(directory, name, table, count):
    """Makes the files with the routes and with `count` destinations, if one is missing. Returns their paths."""
    base = os.path.join(directory, name)
    paths = base + ".routes", base + ".destinations"
    if not all(os.path.exists(p) for p in paths):
        os.makedirs(directory, exist_ok=True)
        table = table()
        with open(paths[0] + ".new", "wb") as out:
            out.writelines(struct.pack("=III", *route) for route in table)
        with open(paths[1] + ".new", "wb") as out:
            destinations(table, count, seed=2).tofile(out)
        for p in paths:
            os.rename(p + ".new", p)
    return paths
