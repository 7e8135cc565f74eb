#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""tests/rooms.py [--build-dir DIR] [FLOOR...]: the graph of rooms, from the symbols of the objects and from includes.

A room is a folder of a floor. Its README.md says in a line "May use: ..." which rooms of its floor it may use. Errors are
an edge that no README allows, a circle between rooms, and a circle of more than 4 files. Symbols show what includes hide: a
declaration may stand anywhere.
"""

import argparse
import collections
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FLOORS = ("runtime", "netio", "forward", "apps/halfpoll")
SUFFIXES = (".cpp", ".hpp", ".h")
LARGEST_CIRCLE = 4


def rooms_of(floor):
    """Room -> rooms it may use."""
    allowed = {}
    for folder in sorted(p for p in (ROOT / floor).iterdir() if any(p.glob("*.[ch]pp"))):
        line = re.search(r"^May use: (.*)\.$", (folder / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
        if not line:
            sys.exit(f"{folder.relative_to(ROOT)}/README.md has no line 'May use: ....'")
        allowed[folder.name] = set() if line[1].startswith("nothing") else {name.strip() for name in line[1].split(",")}
        unknown = {name for name in allowed[folder.name] if not (ROOT / floor / name).is_dir()}
        if unknown:
            sys.exit(f"{folder.relative_to(ROOT)}/README.md names what is no room: {', '.join(sorted(unknown))}")
    return allowed


def includes_of(floor, rooms):
    """(file, file) -> why."""
    edges = {}
    for room in rooms:
        for path in (p for p in (ROOT / floor / room).iterdir() if p.suffix in SUFFIXES):
            for name in re.findall(r'^#include "([^"]+)"', path.read_text(encoding="utf-8"), re.MULTILINE):
                used = path.parent / name if "/" not in name else ROOT / name
                if used.is_relative_to(ROOT / floor) and used.parent != ROOT / floor:
                    edges[path, used] = f"includes {name}"
    return edges


def objects_of(build, floor, rooms):
    """Object -> its source. meson names an object after the source's path from where its target is made."""
    objects = {}
    for path in (build / floor).rglob("*.o"):
        name = path.name.removesuffix(".cpp.o")
        for room in rooms:
            stem = name if path.parent.parent.name == room else name.removeprefix(f"{room}_")
            source = ROOT / floor / room / f"{stem}.cpp"
            if source.exists() and (path.parent.parent.name == room or name != stem):
                objects[path] = source
    return objects


def symbols_of(objects):
    """(file, file) -> why."""
    defined, wanted = {}, collections.defaultdict(set)
    for path, source in objects.items():
        listing = subprocess.run(["nm", "-P", str(path)], stdout=subprocess.PIPE, text=True, check=True).stdout
        for name, kind, *_ in (line.split() for line in listing.splitlines()):
            if kind in "TDBR":
                defined[name] = source
            elif kind == "U":
                wanted[source].add(name)
    return {(source, defined[name]): f"uses {name}" for source, names in wanted.items() for name in names
            if name in defined and defined[name] != source}


def circles(graph):
    """Sets of nodes that reach each other (Tarjan)."""
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in index:
                visit(other)
            if other in stack:
                low[node] = min(low[node], low[other])
        if low[node] == index[node]:
            at = stack.index(node)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for node in list(graph):
        if node not in index:
            visit(node)
    return found


def judge(floor, build):
    """What is wrong with a floor, in lines."""
    allowed = rooms_of(floor)
    objects = objects_of(build, floor, allowed)
    sources = {p for room in allowed for p in (ROOT / floor / room).glob("*.cpp")}
    errors = [f"{p.relative_to(ROOT)} has no object in {build}" for p in sorted(sources - set(objects.values()))]
    symbols = symbols_of(objects)
    for (a, b), why in sorted({**symbols, **includes_of(floor, allowed)}.items()):
        if a.parent != b.parent and b.parent.name not in allowed[a.parent.name]:
            errors.append(f"{a.relative_to(ROOT)} {why}, but {a.parent.name} may not use {b.parent.name}")
    errors += [f"a circle between rooms: {', '.join(c)}" for c in circles(allowed)]
    files = collections.defaultdict(set)
    for a, b in symbols:
        files[a.stem].add(b.stem)
    knots = circles(files)
    errors += [f"a circle of {len(c)} files, more than {LARGEST_CIRCLE}: {' '.join(c)}" for c in knots if len(c) > LARGEST_CIRCLE]
    print(f"{floor}: {len(allowed)} rooms, {len(objects)} objects, circles of files: "
          + ("; ".join(f"{len(c)}: {' '.join(c)}" for c in knots) or "none"))
    return errors


def main():
    parser = argparse.ArgumentParser(prog="tests/rooms.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("floors", nargs="*", metavar="FLOOR", help=f"default: {' '.join(FLOORS)}")
    parser.add_argument("--build-dir", type=pathlib.Path, default=ROOT / "build")
    args = parser.parse_args()
    errors = [error for floor in args.floors or FLOORS for error in judge(floor, args.build_dir.resolve())]
    print(*errors, sep="\n", end="\n" if errors else "")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
