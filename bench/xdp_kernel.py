# SPDX-License-Identifier: BSD-3-Clause
"""The cost of the kernel's XDP on a veth pair, in ns of one CPU: from the frame's way into the pair to the end of the
verdict, less the cost of making the frame. See xdp/kernel_xdp.cpp."""

import json
import os
import random
import subprocess

from refusal import Refusal

VERDICTS = ("drop", "tx", "redirect")


class Veth:
    """A namespace with two veth pairs."""

    def __init__(self):
        self.ns = f"hp-xdp-bench-{os.getpid()}"

    def __enter__(self):
        try:
            command("ip", "netns", "add", self.ns)
            # Only `ip netns exec` gives the namespace a /sys of its own, where the counters are read.
            for a, b in (("va", "vb"), ("vc", "vd")):
                command("ip", "-n", self.ns, "link", "add", a, "type", "veth", "peer", "name", b)
                for dev in (a, b):
                    command("ip", "-n", self.ns, "link", "set", dev, "up")
            return self
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_):
        subprocess.run(["ip", "netns", "del", self.ns], capture_output=True, check=False)


def command(*args):
    done = subprocess.run(args, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise Refusal(f"{' '.join(args)}: {done.stderr.strip()} (root is needed)")
    return done.stdout


def cost(build_dir, cpu, verdict, frames):
    """The cost of a frame, in ns."""
    program = os.path.join(build_dir, "bench", "xdp", "kernel_xdp")
    with Veth() as veth:
        out = command("ip", "netns", "exec", veth.ns, "taskset", "-c", str(cpu), program, verdict, str(frames))
    result = json.loads(out)
    if verdict != "generate" and result["seen"] < 0.99 * frames:
        raise Refusal(f"{verdict}: only {result['seen']} of {frames} frames came to the program")
    return result["ns"] / frames


def measure(build_dir, cpu, frames):
    """Measures one round; returns {verdict: ns}."""
    order = ["generate", *VERDICTS]
    random.shuffle(order)
    ns = {verdict: cost(build_dir, cpu, verdict, frames) for verdict in order}
    return {verdict: ns[verdict] - ns["generate"] for verdict in VERDICTS}
