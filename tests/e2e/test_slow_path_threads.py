# SPDX-License-Identifier: BSD-3-Clause
"""Several slow-path threads: what the kernel forwards passes, flows keep their order, and shadows that outlived a
process are adopted only for what they were made for."""

import contextlib
import json
import pathlib
import platform
import signal
import subprocess
import unittest

from lab import KERNEL, NETWORKS, PROGRAM, wait_for
from test_operate import ReloadLab, port
from traffic import Sink, Stream, ping, transfer, wait_ping

LAN, WAN = NETWORKS["lan"], NETWORKS["wan"]
SIZE = 4 << 20
FLOWS, DATAGRAMS = 8, 1000
FORWARD = "\n[forward]\nkernel_pass = false\n"
RULES = "table inet t { chain c { type filter hook forward priority 0; counter; }; }"


class ThreadsLab(ReloadLab):
    threads = 2

    def text(self, *ports, runtime="", more=FORWARD):
        return super().text(*ports, runtime=f"slow_path_threads = {self.threads}\n{runtime}", more=more)


@unittest.skipIf(KERNEL, "about halfpoll")
class SlowPathThreads(unittest.TestCase):
    def setUp(self):
        self.lab = ThreadsLab(("lan", "wan"))
        self.addCleanup(self.lab.stop)
        self.client, self.server, self.router = self.lab.client, self.lab.server, self.lab.router
        for address in (WAN.host4, WAN.host6):
            ping(self.client, address)

    def threads(self):
        tasks = pathlib.Path(f"/proc/{self.lab.process.pid}/task").iterdir()
        names = [(task / "comm").read_text(encoding="ascii").strip() for task in tasks]
        return sorted(name for name in names if name.startswith("slow_path"))

    def left_to_kernel(self):
        """From now on the kernel forwards everything."""
        self.router.run("nft", RULES)
        wait_for("the kernel forwards", lambda: all(row["in"] == "kernel" for row in self.lab.show("policy")))

    def queues(self, dev):
        """Number of file descriptors that are attached to an interface."""
        return self.router.ip_json("-d", "link", "show", "dev", dev)[0]["linkinfo"]["info_data"].get("numqueues", 1)

    def test_tcp_both_ways(self):
        self.assertEqual(self.threads(), ["slow_path/0", "slow_path/1"])
        self.assertEqual(self.queues(LAN.dev), 2)
        for address, host in ((LAN.router4, LAN.host4), (LAN.router6, LAN.host6)):
            transfer(self.client, self.router, address, SIZE)
            transfer(self.router, self.client, host, SIZE)
        self.left_to_kernel()
        for target, host in ((WAN.host4, LAN.host4), (WAN.host6, LAN.host6)):
            transfer(self.client, self.server, target, SIZE)
            transfer(self.server, self.client, host, SIZE)
        shadows = json.loads(self.lab.halfpoll("show", "punt", "--json").stdout)["shadows"]
        for shadow in shadows:
            self.assertGreater(shadow["to_kernel"], 2 * SIZE // 1460, "counters of all threads")
            self.assertGreater(shadow["from_kernel"], 2 * SIZE // 1460)

    @unittest.skipIf(tuple(map(int, platform.release().split("-")[0].split(".")[:2])) < (6, 6), "no tcx (Linux 6.6)")
    def test_what_does_not_leave_the_kernel(self):
        """The kernel's queueing discipline for several queues (mq) is no reason to bring it through the shadow."""
        self.lab.reload(more="")
        self.left_to_kernel()
        wait_for("packets pass", lambda: all(row["passes"] for row in self.lab.show("policy")))
        transfer(self.client, self.server, WAN.host4, SIZE)
        transfer(self.server, self.client, LAN.host6, SIZE)
        for row in self.lab.show("interfaces"):
            self.assertGreater(row["device"]["passed_in"], SIZE // 1460)
            self.assertGreater(row["device"]["passed_out"], SIZE // 1460)

    def test_datagrams_keep_their_order(self):
        """In both directions, through the kernel. Nothing is lost: a stream waits for what arrives."""
        self.left_to_kernel()
        with contextlib.ExitStack() as stack:
            sinks, streams = [], []
            for flow in range(FLOWS):
                for source, destination, where in ((self.client, self.server, WAN), (self.server, self.client, LAN)):
                    from_ = LAN.host4 if where is WAN else WAN.host4
                    sinks.append(stack.enter_context(Sink(destination, where.host4, 7100 + flow)))
                    stream = Stream(source, from_, (where.host4, 7100 + flow), 2000, 7200 + flow, sinks[-1:])
                    streams.append(stack.enter_context(stream))
            wait_for("datagrams of each flow", lambda: all(len(sink.got) >= DATAGRAMS for sink in sinks), 60)
        for sink in sinks:
            self.assertEqual(sink.got, list(range(len(sink.got))))

    def test_another_number_needs_a_restart(self):
        self.lab.threads = 3
        done = self.lab.reload(check=False)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("slow_path_threads: 2 -> 3", done.stdout)
        ping(self.client, WAN.host4)
        self.lab.signal(signal.SIGTERM)  # the shadows are removed, so that any number can follow
        for threads, names in ((1, ["slow_path"]), (3, ["slow_path/0", "slow_path/1", "slow_path/2"])):
            self.lab.threads = threads
            self.lab.start()
            self.lab.configure_only(LAN, WAN)
            wait_ping(self.client, WAN.host4, 5)
            self.assertEqual(self.threads(), names)
            self.assertEqual(self.queues(LAN.dev), threads)
            self.lab.signal(signal.SIGTERM)

    def test_shadows_that_outlive_their_process(self):
        """Several threads adopt them, whatever their number; one thread does not, and changes nothing."""
        index = self.router.ip_json("link", "show", "dev", LAN.dev)[0]["ifindex"]
        self.lab.signal(signal.SIGKILL)
        self.lab.threads = 1
        self.lab.write()
        done = subprocess.run(self.router.command(PROGRAM, "run", self.lab.folder / "halfpoll.toml"), check=False,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=60)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("made for several slow-path threads, and there is one now", done.stdout)
        self.assertIn("ip link del lan0", done.stdout)
        self.lab.threads = 4
        self.lab.start()
        self.assertEqual(self.queues(LAN.dev), 4)
        self.assertEqual(self.router.ip_json("link", "show", "dev", LAN.dev)[0]["ifindex"], index)
        wait_ping(self.client, WAN.host4, 5)  # with the addresses that they had

    def test_a_deleted_shadow_comes_back(self):
        self.router.ip("link", "del", LAN.dev)
        wait_for("it is made again", lambda: any(link["ifname"] == LAN.dev for link in self.router.ip_json("link")))
        self.lab.configure()
        wait_ping(self.client, WAN.host4, 5)
        self.assertEqual(self.queues(LAN.dev), 2)
        self.left_to_kernel()
        transfer(self.client, self.server, WAN.host4, SIZE)

    def test_a_port_that_comes_and_goes(self):
        self.lab.reload(port(WAN))
        self.assertNotIn(LAN.dev, [link["ifname"] for link in self.router.ip_json("link")])
        self.lab.reload(port(LAN), port(WAN))
        self.lab.configure()
        wait_ping(self.client, WAN.host4, 5)
        transfer(self.client, self.router, LAN.router4, SIZE)
