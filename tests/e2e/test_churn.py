# SPDX-License-Identifier: BSD-3-Clause
"""Many route changes a second, flapping next hops and neighbours, a crash and a restart. No packet is lost on routes
that do not change, and at the end the forwarder holds what the kernel holds. HALFPOLL_CHURN_SECONDS: duration (60 is
the long form)."""

import contextlib
import os
import random
import signal
import subprocess
import time
import unittest

import fib_check
from lab import KERNEL, NETWORKS, Lab, wait_for
from traffic import Background, Sink, Stream, wait_ping

LAN, WAN, ALT = NETWORKS["lan"], NETWORKS["wan"], NETWORKS["alt"]
SECONDS = float(os.environ.get("HALFPOLL_CHURN_SECONDS", 12))
RATE = 10_000  # replacements a second, at most
STEP = 0.02
PREFIXES = [(f"172.{16 + i // 256}.{i % 256}.0/24", 4) for i in range(4000)] + \
           [(f"2001:db8:{i + 4096:x}::/48", 6) for i in range(1000)]
STREAMS = ((LAN.host4, WAN.host4), (LAN.host6, WAN.host6))


class Changes:
    """`with`: replaces routes in the router's namespace at an even rate, as far as the machine can."""

    def __init__(self, router):
        self.random, self.done = random.Random(5), 0
        self.ip = router.popen("ip", "-force", "-batch", "-", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
        self.background = Background(self.step)

    def step(self):
        start = time.monotonic()
        self.ip.stdin.write("".join(self.change() for _ in range(int(RATE * STEP))))
        self.ip.stdin.flush()
        self.done += int(RATE * STEP)
        time.sleep(max(0, STEP - (time.monotonic() - start)))

    def change(self):
        prefix, family = self.random.choice(PREFIXES)
        wan, alt = (WAN.host4, ALT.host4) if family == 4 else (WAN.host6, ALT.host6)
        kind = self.random.randrange(20)
        if kind == 0:
            return f"route replace blackhole {prefix}\n"
        if kind == 1:
            return f"route replace unreachable {prefix}\n"
        if kind < 5:
            return f"route replace {prefix} nexthop via {wan} weight {kind} nexthop via {alt}\n"
        return f"route replace {prefix} via {wan if kind < 12 else alt}\n"

    def __enter__(self):
        self.background.__enter__()
        return self

    def __exit__(self, *args):
        self.background.__exit__(*args)
        self.ip.stdin.close()
        self.ip.wait(60)


@unittest.skipIf(KERNEL, "about halfpoll")
class Churn(unittest.TestCase):
    def setUp(self):
        self.lab = Lab()
        self.addCleanup(self.lab.stop)
        self.client, self.server, self.router = self.lab.client, self.lab.server, self.lab.router
        for _, address in STREAMS:
            wait_ping(self.client, address, 5)

    def flap(self):
        """A link goes down and up, and neighbours are forgotten or fail."""
        self.lab.host_down(ALT)
        time.sleep(0.2)
        self.lab.host_up(ALT)
        time.sleep(0.3)
        for address in (ALT.host4, ALT.host6):
            self.router.ip("neigh", "del", address, "dev", "alt0", check=False)
            self.router.ip("neigh", "replace", address, "lladdr", ALT.host_mac, "dev", "alt0", "nud", "reachable")
            self.router.ip("neigh", "change", address, "dev", "alt0", "nud", "failed", check=False)
        time.sleep(0.2)

    def undisturbed(self, seconds):
        """Checks that streams over unchanged routes lose nothing meanwhile."""
        with contextlib.ExitStack() as stack:
            sinks = [stack.enter_context(Sink(self.server, to, 7100)) for _, to in STREAMS]
            with contextlib.ExitStack() as sending:
                streams = [sending.enter_context(Stream(self.client, source, (to, 7100), 500, sinks=[sink]))
                           for sink, (source, to) in zip(sinks, STREAMS)]
                time.sleep(seconds)
            for sink, stream in zip(sinks, streams):
                wait_for("what was sent arrives", lambda s=sink, n=stream: len(s.got) >= n.sent, 5)
                self.assertEqual(sorted(sink.got), list(range(stream.sent)))

    def test_churn(self):
        with Changes(self.router) as changes, Background(self.flap):
            self.undisturbed(SECONDS / 2)
            self.assertEqual(self.lab.signal(signal.SIGKILL), -signal.SIGKILL)
            self.lab.start()
            for _, address in STREAMS:
                wait_ping(self.client, address, 5)
            self.undisturbed(SECONDS / 2)
            wait_for("every route has changed, most of them several times", lambda: changes.done >= 10 * len(PREFIXES))
        # The neighbours settle first, hence the repeated comparison.
        wait_for("the forwarder has what `ip` shows", lambda: not fib_check.differences(self.lab), step=0.2)
        status = {line.split()[0]: line.split()[1] for line in self.lab.halfpoll("show", "status").stdout.splitlines()
                  if len(line.split()) > 1}
        self.assertEqual(status["netlink_errors"], "0")
