# SPDX-License-Identifier: BSD-3-Clause
"""Prints the events around one wake-up of the urgent thread, from a trace of rt_latency."""

import collections
import os
import subprocess
import tempfile

from refusal import Refusal

Event = collections.namedtuple("Event", "thread time what")
LONG = "hp/0-"
WAKES = 20


def picture(build_dir, variant, cpu):
    """Traces a run of its own, because tracing costs time. Returns lines as `halfpoll trace` prints them, with times in
    us since the first line."""
    with tempfile.TemporaryDirectory(prefix="halfpoll-bench-") as folder:
        command([os.path.join(build_dir, "bench", "locks", "rt_latency"), variant, str(cpu), str(WAKES), folder])
        traces = [os.path.join(folder, name) for name in os.listdir(folder)]
        if len(traces) != 1:
            raise Refusal(f"rt_latency wrote {len(traces)} traces")
        text = command([os.path.join(build_dir, "apps", "halfpoll", "halfpoll"), "trace", "--cpu", str(cpu), traces[0]])
    chosen = around_wake([event for line in text.splitlines() if (event := parse(line))])
    return [f"{e.thread:<24} {e.time - chosen[0].time:10.1f}  {e.what}" for e in chosen]


def command(words):
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise Refusal(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def parse(line):
    """The event of a line; None for an empty line, and for a burst of packets that are not urgent."""
    words = line.strip().split(maxsplit=3)
    if len(words) < 4 or (words[3].startswith("xdp_") and "sent=1 " not in words[3]):
        return None
    return Event(words[0], float(words[2]), words[3])


def around_wake(events):
    """The events of the last wake-up of the urgent thread that came during a softirq of the long thread: from that
    softirq's entry until the long thread goes on or, if the urgent thread had to wait, until it has sent its packet."""
    last = None
    for i in range(1, len(events)):
        if not is_long(events[i]) and is_long(events[i - 1]) and events[i - 1].what.startswith("softirq_entry"):
            end = i
            waits = events[i].what.startswith("contention_begin")
            while end < len(events) and (waits or not is_long(events[end])):
                end += 1
                waits = waits and not events[end - 1].what.startswith("xdp_")
            if end < len(events) and any(e.what.startswith("xdp_") for e in events[i:end]):
                last = events[i - 1:end + 1]
    if not last:
        raise Refusal("the trace has no wake amid a softirq")
    return last


def is_long(event):
    return event.thread.startswith(LONG)
