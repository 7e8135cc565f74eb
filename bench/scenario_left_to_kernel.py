# SPDX-License-Identifier: BSD-3-Clause
"""left-to-kernel: what a router forwards while a stateful firewall of nftables leaves all to the kernel, and TCP of the
box itself.

Three routers in the same topology take turns: the kernel alone, halfpoll (`halfpoll`, where packets pass inside the
kernel), and halfpoll with `kernel_pass = false` (`slow_path`). For the rate of 64-byte packets, the NAPI of the port
that they come in by is threaded on CPU 0, where halfpoll's data CPU is, too; CPU 1 makes the packets. What the port on
the other side has sent counts. As the offered load is several times more than what is forwarded, that is the rate at
saturation.
"""

import contextlib
import os
import pathlib
import subprocess
import sys
import time

from refusal import Refusal

BENCH = pathlib.Path(__file__).resolve().parent
FIREWALL = ("table inet t { chain c { type filter hook forward priority 0; policy drop;"
            " ct state established,related accept; ct state new accept; }; }")
BY_SLOW_PATH = "\n[forward]\nkernel_pass = false\n"
RATE = 100_000  # packets/s that must not be policed


class Router:
    """One of the routers, with a client and a server."""

    def __init__(self, lab, name, kernel=False, config=""):
        self.name, self.kernel, self.lab_module = name, kernel, lab
        self.lab = lab.Lab(("lan", "wan"), kernel=kernel, config=config)
        self.lan, self.wan = (lab.NETWORKS[n] for n in ("lan", "wan"))
        self.inside, self.outside = ((n.dev if kernel else n.port) for n in (self.lan, self.wan))
        for net, host in ((self.lan, self.lab.client), (self.wan, self.lab.server)):
            host.run("ping", "-c2", "-i0.2", net.router4)

    def firewall(self):
        self.lab.router.run("nft", FIREWALL)
        if not self.kernel:
            self.lab_module.wait_for("the kernel forwards",
                                     lambda: all(r["in"] == "kernel" for r in self.lab.show("policy")))

    @contextlib.contextmanager
    def on_cpu_0(self):
        """The port that packets come in by is polled by a thread of the kernel on CPU 0."""
        self.lab.router.run("ethtool", "-K", self.inside, "gro", "on", check=False)  # veth: only then has it NAPI
        self.set_threaded(1)
        for task in pathlib.Path("/proc").glob("[0-9]*/comm"):
            with contextlib.suppress(OSError):
                if task.read_text(encoding="ascii").startswith(f"napi/{self.inside}-"):
                    os.sched_setaffinity(int(task.parent.name), {0})
        try:
            yield
        finally:
            self.set_threaded(0)

    def set_threaded(self, value):
        """`ip netns exec` shows the sysfs of the namespace."""
        self.lab_module.run("ip", "netns", "exec", self.lab.router.name, "sh", "-c",
                            f"echo {value} > /sys/class/net/{self.inside}/threaded")

    def sent(self):
        return self.lab.router.ip_json("-s", "link", "show", "dev", self.outside)[0]["stats64"]["tx"]["packets"]

    def rate(self, seconds, offered=0):
        """Packets/s of 64 bytes that leave, while `offered` packets/s come in (0: as many as one CPU makes)."""
        frame = udp_frame(self.lan, self.wan)
        generator = self.lab.client.popen(
            sys.executable, BENCH / "live_frames.py", "eth0", 1, seconds + 1, offered, frame,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        time.sleep(0.7)
        begin, before = time.monotonic(), self.sent()
        time.sleep(seconds - 0.3)
        rate = (self.sent() - before) / (time.monotonic() - begin)
        out, _ = generator.communicate(timeout=60)
        if generator.returncode != 0:
            raise Refusal(f"live_frames.py: {out}")
        return rate

    def policed(self):
        return sum(row["policed"] for row in self.lab.show("punt"))


def udp_frame(source, target):
    """64 bytes with the checksum of the link, which is not sent."""
    from scapy.layers.inet import IP, UDP, Ether  # pylint: disable=import-outside-toplevel
    from scapy.packet import Raw  # pylint: disable=import-outside-toplevel
    return bytes(Ether(src=source.host_mac, dst=source.router_mac) / IP(src=source.host4, dst=target.host4, ttl=64) /
                 UDP(sport=1000, dport=9) / Raw(bytes(18))).hex()


@contextlib.contextmanager
def routers(build_dir):
    os.environ["HALFPOLL_PROGRAM"] = os.path.join(build_dir, "apps", "halfpoll", "halfpoll")
    sys.path.insert(0, str(BENCH.parent / "tests" / "e2e"))
    import lab  # pylint: disable=import-outside-toplevel
    try:
        yield [Router(lab, "kernel", kernel=True), Router(lab, "halfpoll"),
               Router(lab, "slow_path", config=BY_SLOW_PATH)]
    finally:
        lab.stop_all()


def run(quick, build_dir):
    rounds, seconds = (1, 2) if quick else (7, 3)
    samples = {}

    def add(name, unit, value):
        samples.setdefault((name, unit), []).append(value)

    try:
        with routers(build_dir) as all_routers:
            for _ in range(rounds):
                for r in all_routers:
                    tcp_of_the_box(r, seconds, add)
            for r in all_routers:
                r.firewall()
                r.lab.server.run("nft", "table netdev t { chain c { type filter hook ingress device eth0 priority 0;"
                                        " udp dport 9 drop; }; }")
            for _ in range(rounds):
                for r in all_routers:
                    through_the_firewall(r, seconds, add)
    except AssertionError as e:
        raise Refusal(str(e)) from e
    for (name, unit), values in list(samples.items()):
        if name.startswith("rate_") and name != "rate_kernel":
            samples["of_kernel_" + name.removeprefix("rate_"), "of the kernel's rate"] = [
                mine / alone for mine, alone in zip(values, samples["rate_kernel", unit])]
    return [{"name": name, "unit": unit, "samples": values} for (name, unit), values in samples.items()]


def tcp_of_the_box(r, seconds, add):
    import traffic  # pylint: disable=import-outside-toplevel
    lab = r.lab
    for way, options in (("to", ()), ("from", ("-R",))):
        add(f"tcp_{way}_box_{r.name}", "Mbit/s",
            traffic.iperf3(lab.client, lab.router, r.lan.router4, *options, seconds=seconds))


def through_the_firewall(r, seconds, add):
    import traffic  # pylint: disable=import-outside-toplevel
    lab = r.lab
    add("tcp_through_" + r.name, "Mbit/s", traffic.iperf3(lab.client, lab.server, r.wan.host4, seconds=seconds))
    with r.on_cpu_0():
        add("rate_" + r.name, "packets/s", r.rate(seconds))
        if not r.kernel:
            before = r.policed()
            add(f"arrived_of_{RATE // 1000}k_" + r.name, "packets/s", r.rate(seconds, RATE))
            add("policed_" + r.name, "packets", r.policed() - before)
