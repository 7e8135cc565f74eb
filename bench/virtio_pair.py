# SPDX-License-Identifier: BSD-3-Clause
"""Two processes: an echo on virtio_user devices (the device under test), and the polling vhost-user peer that loads
it."""

import json
import os
import re
import select
import subprocess
import tempfile
import time

from refusal import Refusal


class Pair:
    """The two processes, as a context: with Pair(build_dir, devices=2, busy_ns=300) as pair: pair.load([0, 0]) ..."""

    def __init__(self, build_dir, devices=1, busy_ns=0, fifo=True):
        self.programs = os.path.join(build_dir, "bench")
        self.sched = "fifo" if fifo else "other"
        self.folder = tempfile.TemporaryDirectory(prefix="halfpoll-virtio-")
        self.sockets = [os.path.join(self.folder.name, f"sock{i}") for i in range(devices)]
        self.log = open(os.path.join(self.folder.name, "log"), "w+", encoding="utf-8")
        self.echo = subprocess.Popen([os.path.join(self.programs, "virtio_echo"), self.sched, str(busy_ns), *self.sockets],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.peer = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in (self.peer, self.echo):
            if process:
                end(process)
        self.log.close()
        self.folder.cleanup()

    def start(self, rates, window_ms=600):
        """Begins to offer each rate (packets/s; 0: as much as possible) for a window. Returns when the devices are
        up."""
        trickle = self.sockets[1] if len(self.sockets) > 1 else "-"
        command = [os.path.join(self.programs, "virtio_load"), self.sched, str(window_ms), self.sockets[0], trickle]
        self.peer = subprocess.Popen([*command, *(f"{r:.0f}" for r in rates)], stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE, text=True)
        self.limit = time.monotonic() + 30 + len(rates) * (window_ms + 500) / 1000
        self.read_line()

    def result(self):
        out, err = self.peer.communicate(timeout=max(1, self.limit - time.monotonic()))
        if self.peer.returncode != 0:
            raise Refusal(f"virtio_load: {err.strip()}")
        return json.loads(out)

    def load(self, rates, window_ms=600):
        self.start(rates, window_ms)
        return self.result()

    def counters(self):
        self.echo.stdin.write("\n")
        self.echo.stdin.flush()
        return self.read_line()

    def read_line(self):
        ready, _, _ = select.select([self.echo.stdout], [], [], 20)
        line = self.echo.stdout.readline() if ready else ""
        if not line:
            self.log.seek(0)
            raise Refusal(f"virtio_echo does not answer: {self.log.read().strip()[-500:]}")
        return json.loads(line)

    def data_core(self):
        """The thread id of the bottom half."""
        for tid in os.listdir(f"/proc/{self.echo.pid}/task"):
            with open(f"/proc/{self.echo.pid}/task/{tid}/comm", encoding="ascii") as f:
                if f.read().startswith("hp/"):
                    return int(tid)
        raise Refusal("virtio_echo has no bottom-half thread")


def end(process):
    """Waits for a process to end, after closing its input if it has one; kills it after 5 s."""
    if process.stdin:
        process.stdin.close()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for stream in (process.stdout, process.stderr):
        if stream:
            stream.close()


def overload(build_dir, windows=1):
    """Measures in one run the throughput at the best load (`peak`) and at more than five times the capacity. Figures
    are packets/s, from the counters of the load program's ports: `offered` is rx of the net_null port that the packets
    come from; `accepted` is tx, and `returned` rx, of the net_vhost port that passes them on."""
    busy_ns = 1000
    nominal = 1e9 / busy_ns
    ramp = [nominal * x for x in (0.7, 0.8, 0.9, 1.0, 1.1, 1.3)]
    flood = [nominal * 6] * windows
    with Pair(build_dir, busy_ns=busy_ns) as pair:
        seen = pair.load(ramp + flood)["windows"]
    worst = min(seen[len(ramp):], key=lambda w: w["returned"])
    return {"peak": max(w["returned"] for w in seen[:len(ramp)]), **worst}


def trickle(build_dir, windows):
    """Measures a queue with 10 packets/s beside a queue that offers more than the CPU can do."""
    with Pair(build_dir, devices=2, busy_ns=300) as pair:
        seen = pair.load([0] * windows)
        counters = pair.counters()
    per_packet_us = 1e6 / (sum(w["returned"] for w in seen["windows"]) / windows)
    return {"delays": sorted(seen["delays_us"]), "bound": trickle_bound_us(per_packet_us),
            "saturated": min(w["offered"] / w["returned"] for w in seen["windows"]),
            "device": counters["devices"]["virtio1"]}


def trickle_bound_us(per_packet_us):
    """The longest time, in us, that the budgets allow before a woken queue is polled. The CPU takes events between
    dispatches. A dispatch ends after 10 passes or 2 ms, and a pass after netdev_budget (300) packets, which the last
    poll (64) may exceed. The dispatch that polls the woken queue begins with one more poll of the busy queue."""
    dispatch = min(10 * 300 * per_packet_us, 2000)
    return dispatch + (300 + 64) * per_packet_us + 64 * per_packet_us


def system_calls(build_dir, seconds=5):
    """Counts the system calls of the device under test at full load, by strace, and reads its own counters beside."""
    with Pair(build_dir, busy_ns=200) as pair:
        pair.start([0] * (seconds + 4))
        time.sleep(1.5)
        before = pair.counters()
        calls = strace(pair, seconds)
        after = pair.counters()
        pair.result()
    device_before, device = before["devices"]["virtio0"], after["devices"]["virtio0"]
    return {"calls": calls, "wakeups": after["wakeups"] - before["wakeups"],
            "rearms": device["unmasks"] - device_before["unmasks"], "polls": device["polls"] - device_before["polls"],
            "packets": device["packets"] - device_before["packets"]}


def strace(pair, seconds):
    """The number of system calls of the bottom-half thread, and of all threads, in `seconds`."""
    trace = os.path.join(pair.folder.name, "strace")
    command = ["timeout", "-s", "INT", str(seconds), "strace", "-f", "-o", trace, "-p", str(pair.echo.pid)]
    try:
        subprocess.run(command, capture_output=True, text=True, timeout=seconds + 20, check=False)
    except FileNotFoundError as e:
        raise Refusal("strace is not installed: apt-get install strace") from e
    with open(trace, encoding="utf-8", errors="replace") as f:
        begun = [line.split()[0] for line in f if re.match(r"\d+ +\w+\(", line)]
    return {"data_core": begun.count(str(pair.data_core())), "all": len(begun)}
