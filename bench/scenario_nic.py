# SPDX-License-Identifier: BSD-3-Clause
"""nic: the kernel's driver with ip_forward and halfpoll on the same emulated NICs, in one boot of a virtual machine:
instructions that the guest executes for each packet it forwards. See README.md, `nic`."""

import json
import os
import pathlib
import re
import shutil
import sys
import threading
import time

from refusal import Refusal

TESTS = pathlib.Path(__file__).resolve().parent.parent / "tests"
sys.path[1:1] = [str(TESTS / "nic"), str(TESTS / "e2e")]

MODELS = ("igb", "virtio")
PORTS = ("lan", "wan")
# One instruction takes one nanosecond of the guest's time, on its only CPU: its clock counts instructions.
MACHINE = {"accel": "tcg,thread=single", "cpus": 1, "options": ("-icount", "shift=0,sleep=on"),
           "kernel_options": ("iommu=pt",)}
BURST, PAUSE = 64, 0.0005  # what the sender offers, several times what the guest can do
SINK = 7300


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
        return [r for model in MODELS for r in compare(model, image, *((1, 5_000) if quick else (5, 50_000)))]
    except AssertionError as e:
        raise Refusal(str(e)) from e
    finally:
        lab.stop_all()
        image.remove()


def compare(model, image, rounds, packets):
    """Both, one after the other, again and again."""
    router = new_router(model, image)
    samples = {"kernel": [], "halfpoll": []}
    try:
        for _ in range(rounds):
            for name, (begin, end) in {"kernel": (kernel_begin, kernel_end),
                                       "halfpoll": (halfpoll_begin, halfpoll_end)}.items():
                begin(router)
                samples[name].append(measure(router, packets))
                simd = router.simd if name == "halfpoll" else ""
                end(router)
    finally:
        router.stop()
    ratio = [k[0] / h[0] for k, h in zip(samples["kernel"], samples["halfpoll"])]
    results = [{"name": f"{model}_{name}", "unit": "instructions/packet", "samples": [s[0] for s in seen]}
               for name, seen in samples.items()]
    results.append({"name": f"{model}_ratio", "unit": "kernel / halfpoll", "samples": ratio, "simd": simd})
    return results + [{"name": f"{model}_{name}_rate", "unit": "packets/s", "samples": [s[1] for s in seen]}
                      for name, seen in samples.items()]


def new_router(model, image):
    from nic_lab import NicLab
    router = NicLab(model, image, ports=PORTS, start=False, data_cpu=0, machine=MACHINE)
    said = router.guest.run("dmesg").stdout
    router.tsc_ghz = float(re.search(r"tsc: Detected ([0-9.]+) MHz", said)[1]) / 1000
    return router


def kernel_begin(router):
    """The kernel's driver has the NICs, under the names that the shadows have."""
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
    router.start(timeout=120)
    router.configure()
    router.simd = json.loads(router.halfpoll("show", "status", "--json").stdout)["simd"]


def halfpoll_end(router):
    status = router.signal(15, timeout=60)
    assert status == 0, f"halfpoll ended with status {status}:\n{router.output()}"


class Flood:
    """`with`: sends small datagrams to a socket that nobody reads, more than the guest can forward."""

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
    """Instructions per packet and packets/s of a guest that is always busy."""
    from lab import wait_for
    from traffic import wait_ping
    wait_ping(router.client, router.nets[1].host4, 30)
    with Flood(router):
        start = received(router)
        wait_for("the load is forwarded", lambda: received(router) > start + packets / 10, 60)
        lost, first = refused(router), look(router)
        goal = first[0] + packets
        wait_for("all packets are forwarded", lambda: received(router) >= goal, 300, 0.005)
        last, lost = look(router), refused(router) - lost
    forwarded, seconds, instructions, idle = (b - a for a, b in zip(first, last))
    assert lost > 0, "the guest kept up with the load: it was not saturated"
    assert idle <= 0.01 * instructions, f"the guest was idle {idle / instructions:.1%} of the time under load"
    return (instructions - idle) / forwarded, forwarded / seconds


def statistics(namespace):
    return namespace.ip_json("-s", "link", "show", "dev", "eth0")[0]["stats64"]


def received(router):
    """Packets that came to the server."""
    return statistics(router.server)["rx"]["packets"]


def refused(router):
    """Packets of the client that its tap had no room for: those that the guest did not fetch in time."""
    return statistics(router.client)["tx"]["dropped"]


def look(router):
    """(packets, seconds, instructions, those of them idle), as near to each other in time as can be."""
    text = router.guest.shell("grep -m 1 '^now at' /proc/timer_list; head -n 1 /proc/stat").stdout.split()
    now, idle = int(text[2]), int(text[text.index("cpu") + 4])
    return received(router), time.monotonic(), now * router.tsc_ghz, idle * 1e7
