# SPDX-License-Identifier: BSD-3-Clause
"""Reloads that replace a port or fail, references to ports meanwhile, and shadows that are renamed or moved."""

import json
import os
import pathlib
import re
import signal
import subprocess
import unittest

from lab import KERNEL, NETWORKS, PROGRAM, Namespace, wait_for
from test_operate import LossFree, ReloadCase, port
from traffic import ping, wait_ping

LAN, WAN, ALT = NETWORKS["lan"], NETWORKS["wan"], NETWORKS["alt"]
MAPS = """
[xdp_map.out]
type = "devmap"
entries = [ { key = 1, port = "lan" }, { key = 2, port = "wan" } ]
"""


def xdp_table(name, program, config=""):
    file = pathlib.Path(PROGRAM).parents[1] / "xdp" / f"{program}.so"
    return f'\n[xdp.{name}]\nfile = "{file}"\n' + (f'config = "{config}"\n' if config else "")


@unittest.skipIf(KERNEL, "about halfpoll")
class Replaced(ReloadCase):
    """A port is identified by its name: its ifindex and the entries of maps follow it to another device."""

    def entries(self):
        rows = json.loads(self.lab.halfpoll("xdp", "map", "show", "--json").stdout)["xdp_map_entries"]
        return {row["key"]: row["to"] for row in rows}

    def setUp(self):
        super().setUp()
        self.lab.signal(signal.SIGTERM)
        self.lab.config = lambda: self.lab.text(more=MAPS)
        self.lab.start()
        self.lab.configure_only(LAN, WAN)
        ping(self.client, WAN.host4)
        self.before = self.indices()
        self.assertEqual(self.entries(), {1: "lan", 2: "wan"})

    def same(self):
        self.assertEqual(self.indices(), self.before)
        self.assertEqual(self.entries(), {1: "lan", 2: "wan"})

    def test_other_queues_or_device(self):
        self.lab.reload(port(LAN), port(WAN, more="descriptors = 512\n"), more=MAPS)
        self.same()
        wait_ping(self.client, WAN.host4, 5)
        self.lab.reload(port(LAN), port(WAN, ALT.port), more=MAPS)
        self.same()
        wan = self.lab.interface("wan")
        self.assertEqual((wan["state"], wan["mac"]), ("up", ALT.router_mac))
        self.lab.reload(port(LAN, WAN.port), port(WAN, LAN.port), more=MAPS)
        self.same()
        self.assertEqual(self.lab.interface("lan")["mac"], WAN.router_mac)
        self.lab.reload(more=MAPS)
        self.same()
        wait_ping(self.client, WAN.host4, 5)

    def test_a_roll_back(self):
        with LossFree(self.lab):
            self.refused(port(LAN, "p-none"), port(WAN), more=MAPS)
        self.same()

    def programs(self):
        rows = json.loads(self.lab.halfpoll("xdp", "map", "show", "--json").stdout)["xdp_map_entries"]
        return {row["key"]: row["program"] for row in rows if "program" in row}

    def test_the_program_of_an_entry_is_replaced(self):
        def ports(name, config=""):
            return MAPS.replace('"wan" }', '"wan", xdp = "out" }') + xdp_table("out", name, config)

        self.lab.signal(signal.SIGTERM)
        self.lab.config = lambda: self.lab.text(more=ports("filter"))
        self.lab.start()
        self.lab.configure_only(LAN, WAN)
        self.lab.halfpoll("xdp", "map", "update", "out", "3", "--port", "lan", "--program", "out")
        self.assertEqual(self.programs(), {2: "filter", 3: "filter"})
        done = self.lab.reload(more=ports("l4lb", f"vip {WAN.host4} tcp 9\\nbackend {WAN.host4} {WAN.host_mac} dev wan"))
        self.assertIn("~ [xdp.out] file: ", done.stdout)
        self.assertEqual(self.programs(), {2: "l4lb", 3: "l4lb"})
        self.assertIn("everything is as it was", self.refused(more=ports("filter", "no such word")))
        self.assertEqual(self.programs(), {2: "l4lb", 3: "l4lb"})

    def test_a_removed_port_loses_its_entries_and_that_is_said(self):
        self.lab.halfpoll("xdp", "map", "update", "out", "2", "--port", "lan")
        done = self.lab.reload(port(LAN), port(WAN), port(ALT), more=MAPS)
        self.lab.halfpoll("xdp", "map", "update", "out", "7", "--port", "alt")
        number = self.indices()["alt"]
        for options in (("--dry-run",), ()):
            done = self.lab.reload(port(LAN), port(WAN), options=options, more=MAPS)
            self.assertIn("- [xdp_map.out] key 7: port alt\n", done.stdout)
        self.assertEqual(self.entries(), {1: "lan", 2: "lan"})
        self.lab.reload(port(LAN), port(WAN), port(ALT), more=MAPS)
        self.assertEqual(self.indices()["alt"], number, "programs may still know it by that")


@unittest.skipIf(KERNEL, "about halfpoll")
class Failed(ReloadCase):
    def test_a_device_that_does_not_exist_costs_no_packet(self):
        with LossFree(self.lab):
            for _ in range(3):
                out = self.refused(port(LAN), port(WAN, "p-none"))
                self.assertIn("port wan: ", out)
                self.assertIn("p-none", out)
        dry = self.lab.halfpoll("reload", "--dry-run", check=False)
        self.assertEqual(dry.returncode, 1)
        self.assertIn("p-none", dry.stdout)

    def test_a_device_that_others_use_costs_no_packet(self):
        """Refused: a device that another halfpoll uses, more queues than the device has, a shadow's name that is
        taken."""
        other = self.lab.folder / "other.toml"
        other.write_text(f'[runtime]\ncpus = [0]\ncontrol = "{self.lab.folder}/other"\n' + port(ALT), encoding="utf-8")
        process = self.router.popen(PROGRAM, "run", other, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        wait_for("it has the interface", lambda: "alt0" in self.router.ip("link"))
        wait_for("it has the interface", lambda: "xdp" in self.router.ip("link", "show", "dev", ALT.port))
        with LossFree(self.lab):
            self.assertIn(ALT.port, self.refused(port(LAN), port(WAN, ALT.port), options=("--dry-run",)))
            self.assertIn(ALT.port, self.refused(port(LAN), port(WAN, ALT.port)))
            self.assertIn("rx", self.refused(port(LAN), port(WAN, more="rx_queues = 4\n")))
            self.assertIn("alt0", self.refused(port(LAN), port(WAN).replace("wan0", "alt0")))
            self.assertIn("p-lan", self.refused(port(LAN), port(WAN).replace("wan0", "p-lan"), options=("--dry-run",)))

    def test_a_port_that_cannot_be_brought_back(self):
        """Its device disappears during the reload, which waits for a reader of its log."""
        fifo = self.lab.folder / "fifo"
        os.mkfifo(fifo)
        self.lab.write(port(LAN), port(WAN, more="descriptors = 512\n"), more=f'[log]\ntarget = "{fifo}"\n')
        with subprocess.Popen([PROGRAM, "reload", "--control", f"{self.lab.folder}/control"], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as reload:
            wait_for("it opens its log", lambda: self.system_call() in ("257", "56"))  # openat, on x86 and on ARM
            self.lab.server.ip("link", "del", "eth0")
            with open(fifo, "rb"):
                out, _ = reload.communicate(timeout=60)
        self.assertEqual(reload.returncode, 1, out)
        self.assertIn("port wan is out of service", out)
        self.assertEqual(self.state("wan"), "failed")
        self.assertIn(WAN.port, self.lab.interface("wan")["failure"])
        self.assertEqual(self.lab.reload().stdout, "no changes\n")
        self.lab.reload(port(LAN), port(WAN, more="descriptors = 512\n"))
        self.lab.plug(WAN)
        wait_for("it is back", lambda: self.state("wan") == "up", 10)
        wait_ping(self.client, WAN.host4, 5)

    def test_a_port_whose_device_is_away(self):
        self.lab.server.ip("link", "del", "eth0")
        wait_for("the failure is seen", lambda: self.state("wan") == "failed", 5)
        self.refused(port(LAN), port(WAN, "p-none"))
        self.assertEqual(self.lab.reload().stdout, "no changes\n")
        self.refused(port(LAN), port(WAN, "p-none", more="descriptors = 512\n"))
        self.assertEqual(self.lab.halfpoll("show", "interfaces").returncode, 0)
        self.assertEqual(self.state("wan"), "failed")
        self.assertEqual(self.lab.reload().stdout, "no changes\n")
        self.lab.plug(WAN)
        wait_for("it is back", lambda: self.state("wan") == "up", 10)
        wait_ping(self.client, WAN.host4, 5)

    def test_a_swap_that_fails(self):
        """The swap closes both ports, and one cannot be reopened as it was: that port is out of service, with the
        reason."""
        self.lab.server.ip("link", "del", "eth0")
        wait_for("the failure is seen", lambda: self.state("wan") == "failed", 5)
        self.refused(port(LAN, WAN.port), port(WAN, LAN.port))
        self.assertEqual((self.state("lan"), self.state("wan")), ("up", "failed"))
        self.assertIn(WAN.port, self.lab.interface("wan")["failure"])
        self.lab.reload(port(LAN), port(WAN, ALT.port))
        self.assertEqual((self.state("lan"), self.state("wan")), ("up", "up"))
        self.lab.plug(WAN)
        self.lab.reload()
        wait_ping(self.client, WAN.host4, 5)


@unittest.skipIf(KERNEL, "about halfpoll")
class Shadows(ReloadCase):
    def rename(self, old, new):
        self.router.ip("link", "set", old, "down")
        self.router.ip("link", "set", old, "name", new)
        self.router.ip("link", "set", new, "up")
        self.router.ip("addr", "replace", LAN.router6 + "/64", "dev", new, "nodad")  # was lost with the link down

    def test_renamed(self):
        self.rename("lan0", "lan9")
        wait_for("show knows", lambda: self.lab.interface("lan")["shadow"] == "lan9", 5)
        wait_ping(self.client, WAN.host4, 5)
        self.assertIn(LAN.host4, self.lab.halfpoll("show", "neigh", "--dev", "lan9").stdout)
        self.assertIn("lan0", self.lab.halfpoll("show", "neigh", "--dev", "lan0", check=False).stdout)
        self.assertEqual(self.lab.reload().stdout, "no changes\n")
        self.assertEqual(self.lab.reload(port(LAN).replace("lan0", "lan9"), port(WAN)).stdout, "no changes\n")
        self.assertEqual(self.lab.interface("lan")["shadow"], "lan9")
        wait_ping(self.client, WAN.host4, 5)

    def test_renamed_and_killed(self):
        """The next start finds the shadow not only by its name, under the old and the new name in the file."""
        self.rename("lan0", "lan9")
        wait_for("show knows", lambda: self.lab.interface("lan")["shadow"] == "lan9", 5)
        for file in ("lan0", "lan9", "lan9"):
            self.lab.signal(signal.SIGKILL)
            self.lab.config = lambda name=file: self.lab.text(port(LAN).replace("lan0", name), port(WAN))
            self.lab.start()
            self.assertNotIn("lan0:", self.router.ip("link"))
            self.assertEqual(self.lab.interface("lan")["shadow"], "lan9")
            wait_ping(self.client, WAN.host4, 5)
            wait_ping(self.client, WAN.host6, 5)

    def test_renamed_and_a_port_that_is_replaced(self):
        self.rename("lan0", "lan9")
        self.lab.reload(port(LAN, more="descriptors = 512\n"), port(WAN))
        self.assertEqual(self.lab.interface("lan")["shadow"], "lan9")
        wait_ping(self.client, WAN.host4, 5)
        self.lab.signal(signal.SIGTERM)
        self.assertEqual(re.findall("lan[09]", self.router.ip("link")), [])

    def test_moved_and_back(self):
        """A shadow that is moved to another namespace works there, and `show` reports it."""
        there = self.lab.namespaces["there"] = Namespace(f"{self.lab.number}-there")
        self.router.ip("link", "set", "lan0", "netns", there.name)
        wait_for("it is seen", lambda: self.state("lan") == "shadow moved", 5)
        self.assertIn("another network namespace", self.lab.interface("lan")["failure"])
        there.ip("addr", "add", LAN.router4 + "/24", "dev", "lan0")
        there.ip("link", "set", "lan0", "up")
        wait_ping(self.client, LAN.router4, 5)
        there.ip("link", "set", "lan0", "name", "lan7")
        there.ip("link", "set", "lan7", "netns", self.router.name)
        wait_for("it is back", lambda: self.lab.interface("lan")["shadow"] == "lan7", 5)
        self.assertEqual(self.state("lan"), "up")
        self.router.ip("link", "set", "lan7", "up")
        self.router.ip("addr", "replace", LAN.router4 + "/24", "dev", "lan7")
        wait_ping(self.client, WAN.host4, 5)

    def test_moved_and_its_namespace_deleted(self):
        for _ in range(2):
            there = Namespace(f"{self.lab.number}-there")
            self.addCleanup(there.remove)
            self.router.ip("link", "set", "lan0", "netns", there.name)
            wait_for("it is seen", lambda: self.state("lan") == "shadow moved", 5)
            there.ip("addr", "add", LAN.router4 + "/24", "dev", "lan0")
            there.ip("link", "set", "lan0", "up")
            wait_ping(self.client, LAN.router4, 5)
            there.remove()
            wait_for("it is made again", lambda: "lan0:" in self.router.ip("link"), 10)
            self.assertEqual(self.state("lan"), "up")
            self.lab.configure_only(LAN)
            wait_ping(self.client, WAN.host4, 5)
