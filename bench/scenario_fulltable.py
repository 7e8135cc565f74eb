# SPDX-License-Identifier: BSD-3-Clause
"""Loads a full Internet table through netlink while packets flow. See README.md, `fulltable`."""

import json
import os
import random
import subprocess
import tempfile
import time

import forward_tables
from refusal import Refusal

CONTROL, WORKER = 0, 1  # logical CPUs
EAL = ["--no-shconf", "--no-huge", "-m", "512", "--no-pci", "--no-telemetry", "--log-level=*:4", "--vdev=net_ring0",
       "-l", str(CONTROL)]
NEXTHOPS = 16
HOP4, HOP6 = "192.168.255.{}", "fd00:ff::{:x}"


def run(quick, build_dir):
    if os.cpu_count() < 2:
        raise Refusal("needs two CPUs: one forwards, one controls")
    size4, size6, updates = (100_000, 20_000, 10_000) if quick else (1_000_000, 200_000, 100_000)
    samples = {}
    with tempfile.TemporaryDirectory(prefix="halfpoll-bench-") as folder:
        batches = write_batches(folder, size4, size6, updates)
        for _ in range(1 if quick else 3):
            for result in (kernel_alone(batches), with_forwarder(batches, size4, size6, updates, build_dir)):
                for key, value in result.items():
                    samples.setdefault(key, []).append(value)
    return [{"name": name, "unit": unit, "samples": values} for (name, unit), values in samples.items()]


# ---- tables ----

def write_batches(folder, size4, size6, updates):
    rng = random.Random(1)
    routes4 = [f"{dotted(addr)}/{length}" for addr, length, _ in forward_tables.routes(size4 + size4 // 100, seed=3)
               if addr >> 24 != 10 and addr >> 16 != 0xC0A8][:size4]
    routes6 = sorted(ipv6_prefixes(rng, size6))
    files = {"load4": [("add", r, HOP4) for r in routes4], "load6": [("add", r, HOP6) for r in routes6],
             "update4": [("replace", r, HOP4) for r in rng.sample(routes4, updates)]}
    for name, lines in files.items():
        path = os.path.join(folder, name)
        with open(path, "w", encoding="ascii") as out:
            out.writelines(f"route {verb} {r} via {hop.format(2 + rng.randrange(NEXTHOPS))}\n" for verb, r, hop in lines)
        files[name] = path
    return files


def dotted(addr):
    return ".".join(str(addr >> s & 255) for s in (24, 16, 8, 0))


def ipv6_prefixes(rng, count):
    """`count` prefixes: allocations of /32, cut into sites of /48 and some other lengths."""
    allocations = [(0x2a00 + rng.randrange(16), rng.randrange(65536)) for _ in range(count // 12 + 1)]
    seen = set()
    while len(seen) < count:
        high, low = rng.choice(allocations)
        length = rng.choices((48, 44, 40, 36, 32), (55, 10, 10, 5, 20))[0]
        site = rng.randrange(65536) >> (48 - length) << (48 - length) if length > 32 else 0
        seen.add(f"{high:x}:{low:x}:{site:x}::/{length}")
    return seen


# ---- the router ----

class Namespace:
    def __init__(self):
        self.name = f"hp-full-{os.getpid()}"

    def __enter__(self):
        command("ip", "netns", "add", self.name)
        return self

    def __exit__(self, *_):
        subprocess.run(["ip", "netns", "del", self.name], check=False)

    def ip(self, *args):
        return command("ip", "-n", self.name, *args)

    def configure(self, dev, mac):
        command("ip", "netns", "exec", self.name, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        self.ip("link", "set", dev, "up")
        self.ip("addr", "add", HOP4.format(1) + "/24", "dev", dev)
        self.ip("addr", "add", HOP6.format(1) + "/64", "dev", dev, "nodad")
        for i in range(2, 2 + NEXTHOPS):
            for hop in (HOP4, HOP6):
                self.ip("neigh", "replace", hop.format(i), "lladdr", mac, "dev", dev, "nud", "permanent")

    def batch(self, path):
        start = time.monotonic()
        self.ip("-batch", path)
        return time.monotonic() - start


def command(*args):
    done = subprocess.run(args, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Refusal(f"{' '.join(args)}: {done.stderr.strip()[-500:]}")
    return done.stdout


def kernel_alone(batches):
    """The time that the kernel and `ip` need without a netlink listener."""
    with Namespace() as ns:
        ns.ip("link", "add", "full0", "type", "veth", "peer", "name", "full1")
        ns.ip("link", "set", "full1", "up")
        ns.configure("full0", "02:00:00:00:00:01")
        load = ns.batch(batches["load4"]) + ns.batch(batches["load6"])
        return {("kernel_load", "s"): load, ("kernel_update", "s"): ns.batch(batches["update4"])}


class Router:
    def __init__(self, ns, build_dir):
        self.process = subprocess.Popen([os.path.join(build_dir, "bench", "fib", "fulltable"), *EAL, "--", ns.name, str(WORKER)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, what):
        try:
            self.process.stdin.write(what + "\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())
        except (BrokenPipeError, ValueError) as e:
            raise Refusal("the forwarder ended") from e

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.process.stdin.close()
            self.process.wait(60)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()


def with_forwarder(batches, size4, size6, updates, build_dir):
    with Namespace() as ns, Router(ns, build_dir) as router:
        ns.configure("full0", router.ask("idle")["mac"])
        ns.ip("route", "add", "10.0.0.0/8", "via", HOP4.format(2))
        start = router.ask("idle")
        router.ask("start")
        time.sleep(1)
        quiet = rate(router, lambda: time.sleep(1))
        begin = router.ask("stats")
        loading = rate(router, lambda: (ns.batch(batches["load4"]), ns.batch(batches["load6"])))
        loaded = router.ask("idle")
        updating = rate(router, lambda: ns.batch(batches["update4"]))
        end = router.ask("idle")
        judge(start, begin, loaded, end, size4, size6)
    pause = 0.3  # seconds for which `idle` waits for silence
    return {("load", "s"): loading["seconds"] + loading["rest"] - pause,
            ("load_cpu", "s"): loaded["cpu"] - begin["cpu"],
            ("update", "s"): updating["seconds"] + updating["rest"] - pause,
            ("updates_per_second", "1/s"): updates / (updating["seconds"] + updating["rest"] - pause),
            ("memory", "MB"): (loaded["resident"] - begin["resident"]) / 1e6,
            ("memory_before", "MB"): begin["resident"] / 1e6,
            ("rate_quiet", "Mpps"): quiet["rate"], ("rate_loading", "Mpps"): loading["rate"],
            ("rate_updating", "Mpps"): updating["rate"], ("lost", "packets"): begin["frames"] - end["frames"]}


def rate(router, action):
    """Runs `action`. Returns its time in seconds, the time that the forwarder then needed to follow (`rest`), and the
    packets forwarded in both, in Mpps (`rate`)."""
    before, start = router.ask("stats"), time.monotonic()
    action()
    seconds, middle = time.monotonic() - start, router.ask("idle")
    rest = time.monotonic() - start - seconds
    return {"seconds": seconds, "rest": rest, "rate": (middle["turns"] - before["turns"]) / (seconds + rest) / 1e6}


def judge(start, begin, loaded, end, size4, size6):
    """Refuses the run unless all routes have arrived and no packet on other routes was lost."""
    if loaded["routes4"] - start["routes4"] != size4 or loaded["routes6"] - start["routes6"] != size6:
        raise Refusal(f"not all routes arrived: {loaded}")
    # At the start the kernel takes one of the 992 frames, to redirect its sender.
    if begin["frames"] < 991 or end["frames"] != begin["frames"] or end["dropped"] != start["dropped"] or end["errors"]:
        raise Refusal(f"packets on unaffected routes were lost, or a table was full: {end}")
