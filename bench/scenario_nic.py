# SPDX-License-Identifier: BSD-3-Clause
"""nic: the kernel's driver with ip_forward and halfpoll on the same emulated NICs, in one boot of a virtual machine:
instructions that the guest executes for each packet that it forwards. See README.md, `nic`."""

import json
import os
import pathlib
import re
import shutil
import struct
import sys
import threading
import time

from refusal import Refusal

TESTS = pathlib.Path(__file__).resolve().parent.parent / "tests"
sys.path[1:1] = [str(TESTS / "nic"), str(TESTS / "e2e")]

MODELS = ("igb", "virtio")
PORTS = ("lan", "wan")
# An instruction takes one nanosecond of the guest's time, on its only CPU: the guest's clock counts instructions.
MACHINE = {"accel": "tcg,thread=single", "cpus": 1, "options": ("-icount", "shift=0,sleep=on"),
           "kernel_options": ("iommu=pt",), "patience": 5}
BURST, PAUSE = 64, 0.0005  # datagrams that the sender sends at once, and s between: several times the guest's capacity
SINK = 7300  # UDP port
LOOPS = 250_000_000  # of two instructions each, to prove that the clock counts them
PORT_CONFIG = "busy_poll = 0\n"  # no spinning before a sleep: a CPU that waits is idle, as with the kernel


def run(quick, build_dir):
    if not shutil.which("qemu-system-x86_64"):
        raise Refusal("QEMU is missing: tests/nic/run installs it")
    program = os.path.join(build_dir, "apps", "halfpoll", "halfpoll")
    os.environ["HALFPOLL_PROGRAM"] = program
    import lab
    from image import Image
    lab.PREFIX = f"hp-nic-{os.getpid()}-"
    image = Image(TESTS.parent / "build-nic", program)
    try:
        return [r for model in MODELS for r in compare(model, image, *((1, 5_000) if quick else (5, 30_000)))]
    except AssertionError as e:
        raise Refusal(str(e)) from e
    finally:
        lab.stop_all()
        image.remove()


def compare(model, image, rounds, packets):
    """Measures the kernel and halfpoll in turn, `rounds` times each."""
    router = new_router(model, image)
    seen = {"kernel": [], "halfpoll": []}
    try:
        counted = yardstick(router)
        for _ in range(rounds):
            kernel_begin(router)
            seen["kernel"].append(measure(router, packets))
            kernel_end(router)
            halfpoll_begin(router)
            before = lan_queue(router)
            seen["halfpoll"].append(measure(router, packets))
            after = lan_queue(router)
            simd = json.loads(router.halfpoll("show", "status", "--json").stdout)["status"]["simd"]
            seen["halfpoll"][-1]["burst"] = (after["packets"] - before["packets"]) / (after["polls"] - before["polls"])
            halfpoll_end(router)
            print(*(f"{model} {name}: " + ", ".join(f"{k} {v:.0f}" for k, v in ran[-1].items())
                    for name, ran in seen.items()), sep="\n", file=sys.stderr, flush=True)
    finally:
        router.stop()
    if any(m["refused"] == 0 for m in seen["kernel"]):
        raise Refusal("the kernel kept up with the load, which is to be more than it can do")
    if not 0.98 < counted < 1.02:
        raise Refusal(f"the guest's clock does not count instructions: {counted:.3f} of a loop's")
    check = {"name": f"{model}_yardstick", "unit": "counted / executed", "samples": [counted]}
    return [check] + figures(model, seen, simd)


def figures(model, seen, simd):
    def column(name, key):
        return [m[key] for m in seen[name]]
    ratio = [k / h for k, h in zip(column("kernel", "instructions"), column("halfpoll", "instructions"))]
    return [{"name": f"{model}_{name}", "unit": "instructions/packet", "samples": column(name, "instructions")}
            for name in seen] + [
        {"name": f"{model}_ratio", "unit": "kernel / halfpoll", "samples": ratio, "simd": simd},
        {"name": f"{model}_halfpoll_burst", "unit": "packets/poll", "samples": column("halfpoll", "burst")},
    ] + [{"name": f"{model}_{name}_rate", "unit": "packets/s", "samples": column(name, "rate")} for name in seen]


def new_router(model, image):
    from nic_lab import NicLab
    router = NicLab(model, image, ports=PORTS, start=False, data_cpu=0, machine=MACHINE,
                    port_config=PORT_CONFIG)
    said = router.guest.run("dmesg").stdout
    router.tsc_ghz = float(re.search(r"tsc: Detected ([0-9.]+) MHz", said)[1]) / 1000
    return router


def counted_program(loops):
    """An ELF file that executes 2 * loops + 4 instructions: dec and jnz in a loop, then exit(0)."""
    code = b"\x48\xc7\xc1" + struct.pack("<I", loops) + b"\x48\xff\xc9\x75\xfb\xb8\x3c\0\0\0\x31\xff\x0f\x05"
    base, size = 0x400000, 120 + len(code)
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 2, 62, 1, base + 120, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return header + struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 4096) + code


def yardstick(router):
    """The instructions that look() counts for a loop, divided by those that the loop executes. A program with one turn
    of the loop is subtracted."""
    counts = []
    for loops in (1, 1, LOOPS):  # the first run fills the guest's caches
        octal = "".join(f"\\{byte:03o}" for byte in counted_program(loops))
        router.guest.shell(f"printf '{octal}' > /tmp/counted && chmod +x /tmp/counted")
        first = look(router)[3]
        router.guest.shell("/tmp/counted")
        counts.append(look(router)[3] - first)
    return (counts[2] - counts[1]) / (2 * LOOPS)


def kernel_begin(router):
    """Gives the NICs to the kernel's driver, under the names that the shadows have otherwise."""
    module = router.model.module
    router.guest.modprobe(*router.model.modules)
    for net in router.nets:
        address = router.guest.bind(router.nics[net.name], module)
        name = router.guest.shell(f"ls -d /sys/bus/pci/devices/{address}/net/* "
                                  f"/sys/bus/pci/devices/{address}/virtio*/net/* 2>/dev/null || true").stdout.split()
        assert name, f"{module} made no interface of {address}"
        router.guest.ip("link", "set", name[0].rsplit("/", 1)[1], "name", net.dev)
    router.configure()


def kernel_end(router):
    for net in router.nets:
        router.guest.bind(router.nics[net.name])


def halfpoll_begin(router):
    router.start(timeout=300)
    router.configure()


def halfpoll_end(router):
    status = router.signal(15, timeout=60)
    assert status == 0, f"halfpoll ended with status {status}:\n{router.output()}"


class Flood:
    """A context in which a thread sends small datagrams, more than the guest can forward, to a socket that is never
    read."""

    def __init__(self, router):
        lan, wan = router.nets
        self.sink = router.server.udp(wan.host4, SINK)
        self.socket = router.client.udp(lan.host4)
        self.to, self.ending = (wan.host4, SINK), threading.Event()

    def __enter__(self):
        self.thread = threading.Thread(target=self._send, daemon=True)
        self.thread.start()
        return self

    def _send(self):
        data = bytes(18)  # 60 bytes with the headers: the smallest frame
        while not self.ending.is_set():
            for _ in range(BURST):
                self.socket.sendto(data, self.to)
            time.sleep(PAUSE)

    def __exit__(self, *_):
        self.ending.set()
        self.thread.join()
        self.socket.close()
        self.sink.close()


def measure(router, packets):
    """Measures instructions per packet and packets/s under more load than the kernel can carry."""
    from lab import wait_for
    from traffic import wait_ping
    wait_ping(router.client, router.nets[1].host4, 30)
    with Flood(router):
        start = received(router)
        wait_for("the load is forwarded", lambda: received(router) > start + packets / 10, 60)
        lost, first = refused(router), look(router)
        wait_for("all packets are forwarded", lambda: received(router) >= first[0] + packets, 300, 0.005)
        last, lost = look(router), refused(router) - lost
    forwarded, seconds, all_, tasks = (b - a for a, b in zip(first, last))
    # A guest that keeps up sometimes waits, and its clock goes on. Therefore only the run time of its tasks counts.
    return {"instructions": tasks / forwarded, "rate": forwarded / seconds, "refused": lost,
            "waits": 100 * (1 - tasks / all_)}


def lan_queue(router):
    return next(n for n in router.show("napi") if n["name"] == "lan-0")


def statistics(namespace):
    return namespace.ip_json("-s", "link", "show", "dev", "eth0")[0]["stats64"]


def received(router):
    """The number of packets that have come to the server."""
    return statistics(router.server)["rx"]["packets"]


def refused(router):
    """The number of packets of the client for which its tap had no room, because the guest did not fetch earlier ones
    in time."""
    return statistics(router.client)["tx"]["dropped"]


def look(router):
    """Returns (packets, seconds, instructions, instructions of tasks), read as close together in time as possible."""
    text = router.guest.shell("grep -m 1 '^now at' /proc/timer_list; grep '^cpu0' /proc/schedstat").stdout.split()
    now, tasks = int(text[2]), int(text[text.index("cpu0") + 7])
    return received(router), time.monotonic(), now * router.tsc_ghz, tasks * router.tsc_ghz
