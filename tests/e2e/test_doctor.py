# SPDX-License-Identifier: BSD-3-Clause
"""`halfpoll doctor` on this machine, with requirements really taken away one by one; and the refusals of
`halfpoll bind`."""

import contextlib
import errno
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import unittest

from fake_pci import NIC, FakePci
from lab import KERNEL, NETWORKS, PROGRAM, Lab
from traffic import ping

LAN, WAN = NETWORKS["lan"], NETWORKS["wan"]
SECCOMP = str(pathlib.Path(__file__).with_name("seccomp.py"))
PCI_PORT = f'\n[[port]]\ndevice = "{NIC}"\nname = "nic"\nshadow = "wan0"\n'
# A process that calls itself sshd, with one connection, controlled through its stdin.
SSHD = """
import pathlib, socket, sys
pathlib.Path("/proc/self/comm").write_text("sshd")
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
server = socket.create_server((sys.argv[1], 0), family=family)
print(server.getsockname()[1], flush=True)
session, _ = server.accept()
print("accepted", flush=True)
sys.stdin.read()
"""


def without(*capabilities):
    """Returns a command prefix that drops capabilities."""
    names = ",".join("-" + c for c in capabilities)
    return ["setpriv", f"--bounding-set={names}", f"--inh-caps={names}"]


def hidden(target, source="/dev/null"):
    """Returns a command prefix that replaces one file by another."""
    return ["unshare", "--mount", "sh", "-c", f'mount --bind {source} {target} && exec "$@"', "sh"]


class Machine(unittest.TestCase):
    """A router's configuration, and doctor's findings about it in the router's namespace."""

    def setUp(self):
        self.lab = Lab(("lan", "wan"), start=False)
        self.addCleanup(self.lab.stop)
        self.router = self.lab.router
        self.text = self.lab.config()

    def command(self, *words, prefix=()):
        return self.router.run(*prefix, PROGRAM, *words, check=False, timeout=30)

    def doctor(self, text=None, prefix=(), root=None):
        """Returns the findings by name."""
        path = self.lab.folder / "test.toml"
        path.write_text(text or self.text, encoding="utf-8")
        done = self.command("doctor", path, "--json", *(("--root", root) if root else ()), prefix=prefix)
        reply = json.loads(done.stdout)
        self.assertEqual(done.returncode, 1 if reply["stops"] else 0)
        found = {f["id"]: f for f in reply["findings"]}
        self.assertEqual(len(found), len(reply["findings"]), reply)
        for f in reply["findings"]:
            self.assertTrue(f["problem"] and f["remedy"], f)
        self.assertEqual(reply["stops"], any(f["severity"] == "stops" for f in found.values()))
        return found

    def adds(self, name, text=None, prefix=(), before=None, root=None):
        """Checks that there is exactly one more finding than for `before` (a text; default: `text`), and returns it."""
        known = set(self.doctor(before or text, root=root))
        found = self.doctor(text, prefix, root)
        self.assertEqual(set(found) - known, {name}, found)
        self.assertLessEqual(known, set(found))
        return found[name]

    def with_runtime(self, line):
        return self.text.replace("[runtime]\n", "[runtime]\n" + line + "\n")


@unittest.skipIf(KERNEL, "about halfpoll")
class Doctor(Machine):
    def test_nothing_stops_a_machine_that_runs_the_tests(self):
        found = self.doctor()
        self.assertFalse([f for f in found.values() if f["severity"] == "stops"], found)

    def test_capabilities(self):
        for finding, dropped, text in (
                ("cap_net_admin", ["net_admin"], self.text),
                ("cap_net_raw", ["net_raw"], self.text),
                ("cap_bpf", ["bpf", "sys_admin"], self.text),
                ("cap_perfmon", ["perfmon", "sys_admin"], self.text),
                ("cap_sys_admin", ["sys_admin"], self.with_runtime(f'netns = "{self.router.name}"'))):
            with self.subTest(finding):
                found = self.adds(finding, text, without(*dropped))
                self.assertEqual(found["severity"], "less" if finding == "cap_perfmon" else "stops")
                self.assertIn("setcap cap_net_admin", found["remedy"])
                self.assertIn(PROGRAM, found["remedy"])

    def test_capabilities_of_the_remedy_suffice(self):
        """With only those capabilities and a small memlock limit, the program runs without restrictions."""
        remedy = self.doctor(prefix=without("net_admin"))["cap_net_admin"]["remedy"]
        names = re.match(r"setcap ([a-z_,]+)\+ep ", remedy)[1].replace("cap_", "+")
        self.lab.prefix = ["prlimit", "--memlock=65536:65536", "setpriv", "--inh-caps=-all", f"--bounding-set=-all,{names}"]
        self.lab.start()
        self.lab.configure()
        ping(self.lab.client, WAN.host4)
        status = json.loads(self.lab.halfpoll("show", "status", "--json").stdout)["status"]
        self.assertEqual(status["degraded"], [])

    def test_fifo(self):
        found = self.adds("sched_fifo", self.with_runtime("fifo_priority = 5"), without("sys_nice"))
        self.assertEqual(found["severity"], "less")

    def test_locked_memory(self):
        found = self.adds("memlock", prefix=["prlimit", "--memlock=65536:65536", *without("ipc_lock")])
        self.assertEqual(found["severity"], "stops")
        self.assertIn("64 KiB", found["problem"])
        self.assertNotIn("memlock", self.doctor(prefix=["prlimit", "--memlock=65536:65536"]))

    def test_limits(self):
        """`check` refuses the limits with which `run` would fail."""
        for finding, limit in (("open_files", "--nofile=32:32"), ("address_space", f"--as={800 << 20}")):
            with self.subTest(finding):
                found = self.adds(finding, prefix=["prlimit", limit])
                self.assertEqual(found["severity"], "stops")
                for command in ("run", "check"):
                    done = self.command(command, self.lab.folder / "test.toml", prefix=["prlimit", limit])
                    self.assertEqual(done.returncode, 1)
                    self.assertIn(found["problem"], done.stdout)

    def test_read_only_folder_of_the_control_socket(self):
        folder = self.lab.folder
        mount = f"mount --bind {folder} {folder} && mount -o remount,ro,bind {folder}"
        read_only = ["unshare", "--mount", "sh", "-c", mount + ' && exec "$@"', "sh"]
        found = self.adds("control_folder", prefix=read_only)
        self.assertEqual(found["severity"], "stops")
        self.assertIn("Read-only file system", found["problem"])

    def test_tun(self):
        found = self.adds("tun", prefix=hidden("/dev/net/tun"))
        self.assertEqual(found["severity"], "stops")
        empty = self.lab.folder / "empty"
        empty.mkdir()
        self.assertIn("No such file", self.adds("tun", prefix=hidden("/dev/net", empty))["problem"])

    def test_io_uring(self):
        denied = [sys.executable, SECCOMP, f"io_uring_setup:{errno.EPERM}", "--"]
        found = self.adds("io_uring", prefix=denied)
        self.assertEqual(found["severity"], "less")
        self.assertIn("seccomp", found["remedy"])
        disabled = self.lab.folder / "io_uring_disabled"
        disabled.write_text("2\n", encoding="ascii")
        found = self.adds("io_uring", prefix=[*hidden("/proc/sys/kernel/io_uring_disabled", disabled), *denied])
        self.assertEqual(found["remedy"], "sysctl -w kernel.io_uring_disabled=0")
        self.assertNotIn("io_uring", self.doctor(self.with_runtime("interrupts = false"), denied))

    def test_sockets_and_bpf(self):
        for finding, rule in (("netlink", f"socket={socket.AF_NETLINK}:{errno.EAFNOSUPPORT}"),
                              ("af_xdp", f"socket=44:{errno.EAFNOSUPPORT}"),
                              ("bpf", f"bpf:{errno.EPERM}")):
            with self.subTest(finding):
                found = self.adds(finding, prefix=[sys.executable, SECCOMP, rule, "--"])
                self.assertEqual(found["severity"], "stops")

    def test_hugepages(self):
        text = self.with_runtime("hugepages = true\nmemory_mb = 1048576")
        found = self.adds("hugepages", text, before=self.text)
        self.assertEqual(found["severity"], "less")
        self.assertIn("sysctl -w vm.nr_hugepages=", found["remedy"])

    def test_memory(self):
        self.assertEqual(self.adds("memory", self.with_runtime("memory_mb = 1048576"), before=self.text)["severity"], "less")

    def test_forwarding_is_off(self):
        self.router.sysctl(ipv4__ip_forward=0, ipv6__conf__all__forwarding=1)
        found = self.doctor()
        self.assertEqual(found["ipv4_forwarding"]["remedy"], "sysctl -w net.ipv4.ip_forward=1")
        self.router.sysctl(ipv4__ip_forward=1, ipv6__conf__all__forwarding=0)
        known, found = set(found), self.doctor()
        self.assertEqual(set(found) ^ known, {"ipv4_forwarding", "ipv6_forwarding"})
        inside = self.with_runtime(f'netns = "{self.router.name}"')
        self.assertEqual(self.doctor(inside)["ipv6_forwarding"]["remedy"],
                         f"ip netns exec {self.router.name} sysctl -w net.ipv6.conf.all.forwarding=1")

    def test_interface(self):
        found = self.adds("interface", self.text.replace(LAN.port, "nonesuch"), before=self.text)
        self.assertEqual((found["severity"], found["port"]), ("stops", "lan"))

    def test_receive_queues(self):
        text = self.text.replace(f'shadow = "{LAN.dev}"', f'shadow = "{LAN.dev}"\nrx_queues = 64\ndescriptors = 64')
        found = self.adds("rx_queues", text, before=self.text)
        self.assertEqual((found["severity"], found["port"]), ("stops", "lan"))
        self.assertIn(f"ethtool -L {LAN.port}", found["remedy"])

    def test_driver_without_xdp(self):
        self.router.ip("link", "add", "br0", "type", "bridge")
        found = self.adds("xdp_native", self.text.replace(f"af_xdp:{LAN.port}", "af_xdp:br0"), before=self.text)
        self.assertEqual(found["severity"], "less")

    def test_default_route(self):
        known = set(self.doctor())
        self.router.ip("route", "add", "default", "dev", LAN.port)
        found = self.doctor()
        self.assertEqual(set(found) - known, {"interface_in_use"})
        self.assertIn("default route", found["interface_in_use"]["problem"])

    def test_bridge(self):
        known = set(self.doctor())
        self.router.ip("link", "add", "br0", "type", "bridge")
        self.router.ip("link", "set", LAN.port, "master", "br0")
        found = self.doctor()
        self.assertEqual(set(found) - known, {"interface_in_use"})
        self.assertIn("bridge br0", found["interface_in_use"]["problem"])

    def test_running_halfpoll_is_no_finding(self):
        known = set(self.doctor())
        self.lab.start()
        self.assertEqual(set(self.doctor()), known)

    def test_mistakes_in_the_configuration(self):
        found = self.doctor(self.with_runtime('netns = "no-such-namespace"'))
        self.assertEqual(found["config"]["severity"], "stops")
        self.assertIn("ip netns add no-such-namespace", found["config"]["problem"])

    def test_text(self):
        path = self.lab.folder / "test.toml"
        path.write_text(self.text, encoding="utf-8")
        done = self.command("doctor", path, prefix=hidden("/dev/net/tun"))
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, r"(?m)^stops   cannot use /dev/net/tun.*\n        -> modprobe tun")
        self.assertIn("halfpoll cannot run: 1 stops", done.stdout)

    def test_without_a_configuration(self):
        done = self.command("doctor")
        self.assertEqual(done.returncode, 0, done.stdout)
        done = self.command("doctor", "--json", prefix=hidden("/dev/net/tun"))
        self.assertEqual(done.returncode, 1)
        self.assertTrue(json.loads(done.stdout)["stops"])

    def test_run_and_check_say_the_same(self):
        path = self.lab.folder / "test.toml"
        path.write_text(self.text, encoding="utf-8")
        problem = self.doctor(prefix=hidden("/dev/net/tun"))["tun"]["problem"]
        for command in ("run", "check"):
            done = self.command(command, path, prefix=hidden("/dev/net/tun"))
            self.assertEqual(done.returncode, 1)
            self.assertIn(problem, done.stdout)


@unittest.skipIf(KERNEL, "about halfpoll")
class DoctorPci(Machine):
    """The real program examines a made-up PCI bus."""

    def setUp(self):
        super().setUp()
        self.text = f'[runtime]\ncpus = [0]\nhugepages = true\ncontrol = "{self.lab.folder}/control"\n' + PCI_PORT
        self.pci = FakePci(self.lab.folder / "root")

    def look(self):
        return self.doctor(root=self.pci.root)

    def test_nothing_is_missing(self):
        self.assertEqual(self.look(), {})

    def test_each_requirement(self):
        pci, device = self.pci, f"sys/bus/pci/devices/{NIC}"
        for finding, change, undo in (
                ("pci_driver", lambda: pci.bind("igb"), lambda: pci.bind("vfio-pci")),
                ("pci_device", lambda: pci.device.rename(pci.root / "away"), lambda: (pci.root / "away").rename(pci.device)),
                ("iommu", lambda: pci.erase(f"{device}/iommu_group"),
                 lambda: pci.link(f"{device}/iommu_group", "../../../../kernel/iommu_groups/7")),
                ("vfio_modules", lambda: pci.erase("sys/module/vfio_iommu_type1"),
                 lambda: pci.put("sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "N")),
                ("interrupt_remapping", lambda: pci.put("proc/interrupts", " 25:  0  PCI-MSI 262144-edge  eth0"),
                 lambda: pci.put("proc/interrupts", " 25:  0  IR-PCI-MSI 262144-edge  eth0")),
                ("vfio_device", lambda: pci.erase("dev/vfio/vfio"), lambda: pci.put("dev/vfio/vfio")),
                ("vfio_access", lambda: pci.erase("dev/vfio/7"), lambda: pci.put("dev/vfio/7")),
                ("hugepages", lambda: pci.put("sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "1"),
                 lambda: pci.put("sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "512")),
                ("cpu_isolation", lambda: pci.put("sys/devices/system/cpu/isolated"),
                 lambda: pci.put("sys/devices/system/cpu/isolated", "0-1023"))):
            with self.subTest(finding):
                change()
                self.assertEqual(set(self.look()), {finding})
                undo()
                self.assertEqual(self.look(), {})

    def test_the_group_is_shared(self):
        other = "sys/bus/pci/devices/0000:03:00.1"
        self.pci.put(f"{other}/class", "0x020000")
        self.pci.link(f"{other}/driver", "../../drivers/igb")
        self.pci.link("sys/kernel/iommu_groups/7/devices/0000:03:00.1", "../../../../bus/pci/devices/0000:03:00.1")
        found = self.look()
        self.assertEqual(set(found), {"iommu_group"})
        self.assertIn("0000:03:00.1 (igb)", found["iommu_group"]["problem"])


@unittest.skipIf(KERNEL, "about halfpoll")
class Bind(Machine):
    """The refusals of bind: real routes, links and sessions, on an interface of a made-up PCI device."""

    def setUp(self):
        super().setUp()
        self.pci = FakePci(self.lab.folder / "root", "igb", LAN.port)
        self.override = self.pci.device / "driver_override"

    def bind(self, *more, what="bind"):
        return self.command(what, *more, "--root", self.pci.root)

    def refused(self, *words):
        done = self.bind(LAN.port)
        self.assertEqual(done.returncode, 1, done.stdout)
        for word in (NIC, *words, "--force"):
            self.assertIn(word, done.stdout)
        self.assertNotIn("vfio", self.override.read_text(encoding="ascii"))

    def goes_ahead(self, *more):
        """Checks that bind proceeds: the made-up bus does not react, so bind then returns the device to its driver."""
        done = self.bind(NIC, *more)
        self.assertIn("vfio-pci does not take it", done.stdout)
        self.assertIn("igb as before", done.stdout)
        self.assertEqual(done.returncode, 1)

    def test_nothing_against_it(self):
        self.goes_ahead()

    def test_default_route(self):
        self.router.ip("-6", "route", "add", "default", "dev", LAN.port)
        self.refused("default route")
        self.goes_ahead("--force")

    def test_default_route_above_it(self):
        self.router.ip("link", "add", "m0", "link", LAN.port, "type", "macvlan")
        self.router.ip("link", "set", "m0", "up")
        self.router.ip("route", "add", "default", "dev", "m0")
        self.refused("default route through m0")

    def test_bridge(self):
        self.router.ip("link", "add", "br0", "type", "bridge")
        self.router.ip("link", "set", LAN.port, "master", "br0")
        self.refused("port of bridge br0")

    def test_in_another_namespace(self):
        done = self.lab.client.run(PROGRAM, "bind", NIC, "--root", self.pci.root, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("another network namespace", done.stdout)

    def test_own_ssh_session(self):
        self.router.ip("addr", "add", LAN.router4 + "/24", "dev", LAN.port)
        prefix = ["env", f"SSH_CONNECTION={LAN.host4} 50022 {LAN.router4} 22"]
        done = self.command("bind", LAN.port, "--root", self.pci.root, prefix=prefix)
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"SSH session of {LAN.host4}", done.stdout)

    def test_ssh_session_of_somebody_else(self):
        for address, peer in ((LAN.router4, LAN.host4), (LAN.router6, LAN.host6)):
            with self.subTest(address):
                prefix_length = "/64" if ":" in address else "/24"
                more = ["nodad"] if ":" in address else []
                self.router.ip("addr", "add", address + prefix_length, "dev", LAN.port, *more)
                self.goes_ahead()
                with self.sshd(address):
                    self.refused(f"SSH session of {peer}")
                self.goes_ahead()

    @contextlib.contextmanager
    def sshd(self, address):
        """Opens an SSH session from the client."""
        server = subprocess.Popen(self.router.command(sys.executable, "-c", SSHD, address), stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)
        client = self.lab.client.tcp(address)
        try:
            client.connect((address, int(server.stdout.readline())))
            self.assertEqual(server.stdout.readline(), "accepted\n")
            self.pci.link_processes()
            yield
        finally:
            client.close()
            server.stdin.close()
            server.wait(10)
            server.stdout.close()

    def test_not_a_pci_device(self):
        done = self.command("bind", LAN.port)
        self.assertEqual(done.returncode, 1)
        self.assertIn("no such interface" if not os.path.exists(f"/sys/class/net/{LAN.port}") else "not on a PCI device",
                      done.stdout)
        done = self.bind("nonesuch")
        self.assertEqual(done.returncode, 1)
        self.assertIn("nonesuch", done.stdout)

    def test_bound_already(self):
        self.pci.bind("vfio-pci")
        done = self.bind(NIC)
        self.assertEqual((done.returncode, done.stdout), (0, f"{NIC}: bound to vfio-pci already\n"))

    def test_unbind_of_what_is_not_bound(self):
        done = self.bind(NIC, what="unbind")
        self.assertEqual((done.returncode, done.stdout), (0, f"{NIC}: bound to igb, not to vfio-pci\n"))
