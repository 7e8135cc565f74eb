# SPDX-License-Identifier: BSD-3-Clause
"""The end-to-end tests on emulated NICs, for one model. One virtual machine serves all tests of a model. Each test
leaves it as it found it; otherwise the next test makes a new one."""

import contextlib
import json
import random
import signal
import statistics
import time
import unittest

from lab import NETWORKS, wait_for
from nic_lab import MODELS, NicLab
from traffic import Sink, Stream, answers, ping, transfer, udp_echo, wait_ping

LAN, WAN, ALT = NETWORKS["lan"], NETWORKS["wan"], NETWORKS["alt"]
QUEUE_FLOWS = 400


class OnModel:
    """The tests; cases() makes a class of them for each model and sets `image`."""

    model, image, lab = None, None, None

    @classmethod
    def new_lab(cls):
        if cls.lab:
            cls.lab.stop()
            cls.lab = None
        cls.lab = NicLab(cls.model, cls.image)

    @classmethod
    def tearDownClass(cls):
        if cls.lab:
            cls.lab.stop()

    def setUp(self):
        if not self.lab or not self.whole():
            self.new_lab()
        self.client, self.server, self.backup = self.lab.client, self.lab.server, self.lab.backup
        self.guest, self.expect = self.lab.guest, MODELS[self.model]
        for host in (WAN.host4, ALT.host4):
            wait_ping(self.client, host, 10)

    def whole(self):
        """True if the last test left a working router."""
        with contextlib.suppress(AssertionError):
            return self.lab.running() and all(answers(self.lab.client, a) for a in (WAN.host4, ALT.host4))
        return False

    def restart(self, port_config=""):
        """Restarts halfpoll, optionally with other settings for its ports."""
        self.assertEqual(self.lab.signal(signal.SIGTERM), 0, self.lab.output())
        self.lab.port_config = port_config
        self.lab.start()
        self.lab.configure()

    def queues(self, port):
        return [n for n in self.lab.show("napi") if n["interface"] == port]

    def test_driver(self):
        """DPDK's own driver runs the NIC, and its queue waits in the mode that Model expects."""
        for net in (LAN, WAN, ALT):
            row = self.lab.interface(net.name)
            self.assertEqual((row["state"], row["mac"]), ("up", net.router_mac), row)
        for napi in self.lab.show("napi"):
            self.assertEqual(napi["mode"], self.expect.mode, napi)
            self.assertEqual(bool(napi["reason"]), self.expect.mode != "interrupt", napi)

    def test_forward_ipv4(self):
        self.traffic(WAN.host4, LAN.host4)

    def test_forward_ipv6(self):
        self.traffic(WAN.host6, LAN.host6)

    def traffic(self, server, client):
        before = {net.name: self.lab.interface(net.name) for net in (LAN, WAN)}
        ping(self.client, server, "-s", 1400, count=20, interval=0.01)
        ping(self.server, client, count=20, interval=0.01)
        with udp_echo(self.server, server), self.client.udp(client) as s:
            for size in (1, 18, 100, 500, 1400):
                s.sendto(bytes(size), (server, 7000))
                self.assertEqual(s.recv(2000), bytes(size))
        transfer(self.client, self.server, server, 4 << 20)
        transfer(self.server, self.client, client, 4 << 20)
        for net in (LAN, WAN):
            for counter in ("rx_packets", "tx_packets"):
                self.counted(net.name, before[net.name][counter], counter)

    def counted(self, port, before, counter):
        """Checks that halfpoll's own counter includes a transfer, and that the device's counter agrees except for
        packets that the emulation lost."""
        def same():
            row = self.lab.interface(port)
            self.assertGreater(row[counter] - before, (4 << 20) // 1500, "halfpoll carried it")
            pairs.append((row[counter], row["device"][counter]))
            return pairs[-1][1] >= 0.99 * pairs[-1][0]
        pairs = []
        try:
            wait_for(f"{counter} of {port} are those of its device", same, 3)
        except AssertionError as e:
            raise AssertionError(f"{e}: {pairs[-1]}") from None

    def test_icmp_errors(self):
        """Answers that the kernel gives for halfpoll come back through the shadow."""
        for option, host, router in (("-4", WAN.host4, LAN.router4), ("-6", WAN.host6, LAN.router6)):
            out = self.client.run("ping", option, "-n", "-c", 1, "-W", 20, "-t", 1, host, check=False).stdout
            self.assertRegex(out, f"From {router}.*(Time to live exceeded|Hop limit)")
        for host, router in (("203.0.113.1", LAN.router4), ("2001:db8:77::1", LAN.router6)):
            out = self.client.run("ping", "-n", "-c", 1, "-W", 20, host, check=False).stdout
            self.assertRegex(out, f"From {router}.*(Unreachable|unreachable)")
        ping(self.client, LAN.router4)
        ping(self.client, WAN.router6)

    def test_wake_from_idle(self):
        """1,000 single packets at random times: each is answered before the next one is sent."""
        rng, times = random.Random(7), []
        before = {n["name"]: n for n in self.lab.show("napi")}
        with udp_echo(self.server, WAN.host4), self.client.udp(LAN.host4, timeout=20) as s:
            for i in range(1000):
                time.sleep(rng.choice((0, rng.uniform(0, 0.002), rng.uniform(0, 0.02))))
                start = time.monotonic()
                s.sendto(i.to_bytes(4, "big"), (WAN.host4, 7000))
                self.assertEqual(s.recv(100), i.to_bytes(4, "big"))
                times.append(time.monotonic() - start)
        times.sort()
        print(f"         {self.model}: answered after {statistics.median(times) * 1e6:.0f} us (median), "
              f"{times[990] * 1e6:.0f} us (p99)", flush=True)
        for napi in self.queues("lan") + self.queues("wan"):
            self.assertEqual(napi["mode"], self.expect.mode, napi)
            if self.expect.mode == "interrupt":
                old = before[napi["name"]]
                self.assertEqual(napi["park_rescues"], old["park_rescues"], napi)
                self.assertGreater(napi["interrupts"], old["interrupts"] + 100, napi)

    def test_idle(self):
        """Interrupts are armed, and there are hardly any wake-ups of threads."""
        ping(self.client, WAN.host4, count=50, interval=0.01)
        if self.expect.mode != "interrupt":
            self.skipTest("its queues wait by timer")
        seen = []

        def quiet():
            seen.append(self.lab.usage(5))
            return seen[-1][1] < 5 and seen[-1][0] < 0.02
        try:
            wait_for("fewer than 5 wake-ups a second, and 2 % of a CPU", quiet, 30)
        finally:
            print(f"         {self.model}: CPU share, wake-ups/s: "
                  + ", ".join(f"{share:.4f} {wakes:.1f}" for share, wakes in seen), flush=True)
        wait_ping(self.client, WAN.host4, 3)

    def test_link(self):
        """The cable is pulled and put back; the shadow's carrier follows, and the other ports carry on."""
        for _ in range(2):
            self.lab.host_down(WAN)
            # Without a link interrupt, a silent link is checked every 16 s.
            wait_for("no carrier on wan0", lambda: not self.lab.carrier("wan0"), 20)
            self.assertEqual(self.lab.interface("wan")["state"], "no carrier")
            self.assertTrue(self.lab.carrier("lan0"))
            self.assertFalse(answers(self.client, WAN.host4))
            ping(self.client, ALT.host4)
            self.lab.host_up(WAN)
            wait_for("carrier on wan0", lambda: self.lab.carrier("wan0"), 10)
            wait_ping(self.client, WAN.host4, 10)
            wait_ping(self.client, WAN.host6, 10)

    def test_mtu(self):
        """The shadow's MTU is the port's MTU."""
        big = ("-M", "do", "-s", 1472)
        ping(self.client, WAN.host4, *big)
        self.guest.ip("link", "set", "wan0", "mtu", 1400)
        try:
            wait_for("the port has the MTU", lambda: self.lab.interface("wan")["mtu"] == 1400, 10)
            out = self.client.run("ping", "-n", "-c", 1, "-W", 20, *big, WAN.host4, check=False).stdout
            self.assertRegex(out, "(Frag needed|Message too long|message too long).*1400")
            ping(self.client, WAN.host4, "-M", "do", "-s", 1372)
            transfer(self.client, self.server, WAN.host4, 1 << 20)
        finally:
            self.guest.ip("link", "set", "wan0", "mtu", 1500)
            self.client.ip("route", "flush", "cache")
        wait_for("the port has the MTU", lambda: self.lab.interface("wan")["mtu"] == 1500, 10)
        ping(self.client, WAN.host4, *big)

    def test_kill_and_restart(self):
        """After SIGKILL the shadows stay, without carrier; the next start adopts them and opens its NICs again."""
        for _ in range(2):
            self.lab.signal(signal.SIGKILL)
            wait_for("no carrier", lambda: not any(self.lab.carrier(n.dev) for n in (LAN, WAN, ALT)), 5)
            self.assertFalse(answers(self.client, WAN.host4))
            self.lab.start()
            for host in (WAN.host4, WAN.host6, ALT.host4):
                wait_ping(self.client, host, 10)

    def test_stop_and_start_under_load(self):
        with Sink(self.server, WAN.host4, 7100) as sink, Stream(self.client, LAN.host4, (WAN.host4, 7100), 2000):
            wait_for("the stream arrives", lambda: len(sink.got) > 100, 10)
            self.restart()
            before = len(sink.got)
            wait_for("the stream arrives again", lambda: len(sink.got) > before + 100, 20)
        self.assertEqual(len(sink.got), len(set(sink.got)), "duplicates")

    def test_unplug_and_return(self):
        """A NIC is unplugged while the others carry traffic: only its port is out of service, and the port returns with
        its addresses."""
        with Sink(self.backup, ALT.host4, 7100) as sink, Stream(self.client, LAN.host4, (ALT.host4, 7100), 500):
            self.lab.unplug(WAN)
            wait_for("the port is out of service", lambda: self.lab.interface("wan")["failure"], 10)
            before = len(sink.got)
            wait_for("the other stream goes on", lambda: len(sink.got) > before + 100, 10)
        self.assertFalse(self.lab.carrier("wan0"))
        self.assertTrue(self.lab.running())
        ping(self.client, ALT.host6)
        self.lab.plug_back(WAN)
        wait_for("the port is in service again", lambda: not self.lab.interface("wan")["failure"], 20)
        wait_for("carrier on wan0", lambda: self.lab.carrier("wan0"), 10)
        for host in (WAN.host4, WAN.host6, ALT.host4):
            wait_ping(self.client, host, 10)


class OnQueues(OnModel):
    """For models with receive side scaling."""

    def test_queues(self):
        """Flows spread over all queues, and a single packet wakes whichever queue it arrives at."""
        number = self.expect.rx_queues
        self.restart(f"rx_queues = {number}\n")
        wait_ping(self.client, WAN.host4, 10)
        try:
            self.assertEqual([n["mode"] for n in self.queues("lan")], ["interrupt"] * number)
            before = self.queues("lan")
            with udp_echo(self.server, WAN.host4):
                for port in range(20000, 20000 + QUEUE_FLOWS):
                    with self.client.udp(LAN.host4, port, timeout=20) as s:
                        s.sendto(b"x", (WAN.host4, 7000))
                        self.assertEqual(s.recv(100), b"x")
            for old, new in zip(before, self.queues("lan")):
                self.assertGreater(new["packets"] - old["packets"], QUEUE_FLOWS / number / 4, new)
                self.assertGreater(new["interrupts"] - old["interrupts"], QUEUE_FLOWS / number / 8, new)
                self.assertEqual((new["mode"], new["park_rescues"]), ("interrupt", 0), new)
            transfer(self.client, self.server, WAN.host6, 2 << 20)
            transfer(self.server, self.client, LAN.host4, 2 << 20)
        finally:
            self.restart()


class WithVhost:
    """The shadows are served by vhost-net, whatever the NICs are: on one model."""

    MODEL = "virtio"

    def test_slow_path_vhost(self):
        self.guest.modprobe("vhost_net")
        self.addCleanup(setattr, self.lab, "runtime_config", "")
        for threads in (1, 2):
            self.anew(f"slow_path_vhost = true\nslow_path_threads = {threads}\n")
            self.assertEqual(self.workers(), 3 * threads)
            self.by_vhost()
        self.anew("")
        self.assertEqual(self.workers(), 0)

    def anew(self, runtime_config):
        """Starts with other settings and new shadows: one that outlives its process suits only as many threads."""
        self.assertEqual(self.lab.signal(signal.SIGTERM), 0, self.lab.output())
        for net in (LAN, WAN, ALT):
            self.guest.shell(f"ip link del {net.dev} 2>/dev/null", check=False)
        self.lab.runtime_config = runtime_config
        self.lab.start()
        self.lab.configure()
        wait_ping(self.client, WAN.host4, 10)

    def ways(self):
        return {row["in"] for row in self.lab.show("policy") if row["port"] != "alt"}

    def workers(self):
        """Number of vhost-net's threads: in the kernel, or since Linux 6.4 in the process."""
        names = self.guest.shell("cat /proc/[0-9]*/task/*/comm 2>/dev/null", check=False).stdout.split()
        return sum(name.startswith("vhost-") for name in names)

    def by_vhost(self):
        self.test_icmp_errors()
        for family, networks in (("-4", ("10.77.1.0/24", "10.77.2.0/24")), ("-6", ("fd77:1::/64", "fd77:2::/64"))):
            for net, network in zip((LAN, WAN), networks):
                self.guest.ip(family, "route", "replace", network, "dev", net.dev, "table", 100)
                self.guest.ip(family, "rule", "add", "pref", 100, "iif", net.dev, "table", 100)
        try:
            wait_for("the kernel forwards", lambda: self.ways() == {"kernel"}, 20)
            for target, host in ((WAN.host4, LAN.host4), (WAN.host6, LAN.host6)):
                transfer(self.client, self.server, target, 2 << 20)
                transfer(self.server, self.client, host, 2 << 20)
        finally:
            for family in ("-4", "-4", "-6", "-6"):
                self.guest.ip(family, "rule", "del", "pref", 100)
        wait_for("halfpoll forwards", lambda: self.ways() == {"fast"}, 20)
        for row in json.loads(self.lab.halfpoll("show", "punt", "--json").stdout)["shadows"]:
            if row["shadow"] != ALT.dev:
                self.assertGreater(row["to_kernel"], 2 * (2 << 20) // 1500, row)
                self.assertGreater(row["from_kernel"], 2 * (2 << 20) // 1500, row)
            self.assertEqual((row["to_kernel_drops"], row["from_kernel_drops"]), (0, 0), row)
        self.made_again(lambda: self.guest.ip("link", "del", WAN.dev))
        self.made_again(self.lose_in_a_namespace)

    def lose_in_a_namespace(self):
        """No message tells halfpoll's namespace that the interface is gone."""
        self.guest.run("/usr/bin/ip", "netns", "add", "away")  # that of busybox has no namespaces
        self.guest.run("/usr/bin/ip", "link", "set", WAN.dev, "netns", "away")
        wait_for("halfpoll sees it there", lambda: "in another network namespace" in self.lab.output(), 20)
        self.guest.run("/usr/bin/ip", "netns", "del", "away")

    def made_again(self, lose):
        lose()
        wait_for("the shadow is made again", lambda: self.guest.shell(f"ip link show {WAN.dev}", check=False)
                 .returncode == 0, 20)
        self.lab.configure()
        wait_ping(self.client, WAN.router4, 10)
        wait_ping(self.client, WAN.host6, 10)


def cases(models, image):
    """Yields a test class for each model."""
    for name in models:
        bases = (OnQueues if MODELS[name].rx_queues > 1 else OnModel, unittest.TestCase)
        if name == WithVhost.MODEL:
            bases = (WithVhost, *bases)
        yield type(name, bases, {"model": name, "image": image, "__module__": "nic"})
