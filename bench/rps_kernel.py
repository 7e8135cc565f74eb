# SPDX-License-Identifier: BSD-3-Clause
"""The cost of the kernel's RPS on a veth pair: the CPU time of both CPUs for each packet that crosses the pair, is
steered to the other CPU and is dropped there at ingress, less that of a packet that is dropped before it enters the
pair."""

import json
import os
import subprocess

from refusal import Refusal

DROP = ("bpf", "bytecode", "1,6 0 0 4", "direct-action")  # TC_ACT_STOLEN: a drop of which the sender sees no error


class Veth:
    """Two namespaces with a veth pair between them. Frames are dropped at the receiver's ingress."""

    def __init__(self):
        self.a, self.b = (f"hp-rps-{side}-{os.getpid()}" for side in "ab")

    def __enter__(self):
        try:
            for ns in (self.a, self.b):
                command("ip", "netns", "add", ns)
            command("ip", "-n", self.a, "link", "add", "va", "type", "veth", "peer", "name", "vb", "netns", self.b)
            for ns, dev in ((self.a, "va"), (self.b, "vb")):
                command("ip", "-n", ns, "link", "set", dev, "up")
                command("tc", "-n", ns, "qdisc", "add", "dev", dev, "clsact")
            command("tc", "-n", self.b, "filter", "add", "dev", "vb", "ingress", *DROP)
            return self
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_):
        for ns in (self.a, self.b):
            subprocess.run(["ip", "netns", "del", ns], capture_output=True, check=False)

    def rps(self, mask):
        command("ip", "netns", "exec", self.b, "sh", "-c", f"echo {mask:x} > /sys/class/net/vb/queues/rx-0/rps_cpus")

    def drop_before(self, on):
        command("tc", "-n", self.a, "filter", "add" if on else "del", "dev", "va", "egress",
                *(("prio", "1", *DROP) if on else ()))


def command(*args):
    done = subprocess.run(args, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Refusal(f"{' '.join(args)}: {done.stderr.strip()} (root is needed)")


def ksoftirqd_ns(cpu):
    for task in os.listdir("/proc"):
        if task.isdigit():
            try:
                with open(f"/proc/{task}/comm", encoding="ascii") as f:
                    if f.read().strip() == f"ksoftirqd/{cpu}":
                        with open(f"/proc/{task}/schedstat", encoding="ascii") as s:
                            return int(s.read().split()[0])
            except OSError:
                pass  # the task has ended
    raise Refusal(f"no ksoftirqd/{cpu} is to be seen in /proc")


def start(build_dir, cpu, *args, netns=None):
    within = ["ip", "netns", "exec", netns] if netns else []
    program = os.path.join(build_dir, "bench", "rps", "kernel_load")
    return subprocess.Popen([*within, "taskset", "-c", str(cpu), program, *map(str, args)], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def outcome(process):
    out, err = process.communicate(timeout=60)
    if process.returncode != 0:
        raise Refusal(err.strip())
    return json.loads(out)


def soaked(build_dir, cpu, ms):
    seen = outcome(start(build_dir, cpu, "soak", ms))
    return seen["rounds"] / seen["ns"]


def cost(build_dir, veth, cpus, ms, undisturbed):
    """The time of both CPUs per packet, in ns: that of the sender, of ksoftirqd, and of interrupts on the target's CPU.
    The kernel charges an interrupt to the task that it hits: to ksoftirqd, or to a counting loop. The loop counts less
    in its time than `undisturbed` (rounds per ns) predicts, and the difference is the time of the interrupts."""
    before = [ksoftirqd_ns(cpu) for cpu in cpus]
    soak = start(build_dir, cpus[1], "soak", ms + 100)
    sent = outcome(start(build_dir, cpus[0], "send", "va", ms, netns=veth.a))
    loop = outcome(soak)
    threads = sum(ksoftirqd_ns(cpu) for cpu in cpus) - sum(before)
    taken = loop["ns"] - loop["rounds"] / undisturbed
    return (sent["ns"] + threads + max(0, taken)) / sent["packets"]


def measure(build_dir, ms):
    cpus = sorted(os.sched_getaffinity(0))[:2]
    if len(cpus) < 2:
        raise Refusal("two CPUs are needed")
    undisturbed = soaked(build_dir, cpus[1], 200)
    with Veth() as veth:
        veth.rps(1 << cpus[1])
        steered = cost(build_dir, veth, cpus, ms, undisturbed)
        veth.drop_before(True)
        return steered - cost(build_dir, veth, cpus, ms, undisturbed)
