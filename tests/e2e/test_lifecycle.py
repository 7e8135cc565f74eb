# SPDX-License-Identifier: BSD-3-Clause
"""Start, stop, kill, restart, and the control socket."""

import json
import os
import pathlib
import signal
import socket
import time
import unittest

from lab import KERNEL, NETWORKS, PROGRAM, Lab, run, wait_for
from traffic import Sink, Stream, answers, ping, wait_ping

LAN, WAN = NETWORKS["lan"], NETWORKS["wan"]
KEEP = 'remove_shadows = false\n'


class KeepingLab(Lab):
    """The configuration leaves the shadows in the kernel at a clean stop."""

    def config(self):
        return super().config().replace("[runtime]\n", "[runtime]\n" + KEEP)


@unittest.skipIf(KERNEL, "about halfpoll")
class Lifecycle(unittest.TestCase):
    def lab_with(self, kind=Lab, **options):
        self.lab = kind(("lan", "wan"), **options)
        self.addCleanup(self.lab.stop)
        self.client, self.server, self.router = self.lab.client, self.lab.server, self.lab.router
        return self.lab

    def links(self):
        return {link["ifname"]: link for link in self.router.ip_json("-d", "link")}

    def test_stop_leaves_nothing(self):
        lab = self.lab_with()
        ping(self.client, WAN.host4)
        self.assertIn("xdp", self.links()["p-lan"])
        self.assertEqual(lab.signal(signal.SIGTERM), 0, lab.output())
        links = self.links()
        self.assertEqual(sorted(links), ["lo", "p-lan", "p-wan"])
        for port in ("p-lan", "p-wan"):
            self.assertNotIn("xdp", links[port])
            disabled = self.router.run("sysctl", "-n", f"net.ipv6.conf.{port}.disable_ipv6").stdout
            self.assertEqual(disabled.strip(), "0", "IPv6 on the interface is as it was")
        self.assertFalse((lab.folder / "control").exists())

    def test_stop_under_load_and_by_command(self):
        lab = self.lab_with()
        ping(self.client, WAN.host4)
        with Stream(self.client, LAN.host4, (WAN.host4, 7100), 5000):
            lab.halfpoll("stop")
            self.assertEqual(lab.process.wait(50), 0, lab.output())

    def test_stop_and_start_again_and_again(self):
        lab = self.lab_with()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            ping(self.client, WAN.host4)
            self.assertEqual(lab.signal(number), 0, lab.output())
            lab.start()
            lab.configure()

    def test_kept_shadows_survive_a_clean_stop(self):
        lab = self.lab_with(KeepingLab)
        ping(self.client, WAN.host4)
        self.assertEqual(lab.signal(signal.SIGTERM), 0)
        self.assertFalse(lab.carrier("lan0"))
        lab.start()
        wait_ping(self.client, WAN.host4, 3)
        wait_ping(self.client, WAN.host6, 3)

    def test_kill_and_restart(self):
        """Addresses and routes survive a crash. While the process is dead the shadows have no carrier; afterwards
        traffic resumes."""
        lab = self.lab_with()
        self.router.ip("route", "add", "198.51.100.0/24", "via", WAN.host4)
        self.router.ip("-6", "route", "add", "2001:db8:99::/64", "via", WAN.host6)
        for _ in range(3):
            wait_ping(self.client, "198.51.100.1", 3)
            wait_ping(self.client, "2001:db8:99::1", 3)
            before = self.router.ip("addr", "show", "dev", "wan0", "scope", "global")
            self.assertEqual(lab.signal(signal.SIGKILL), -signal.SIGKILL)
            wait_for("the carrier is gone", lambda: not lab.carrier("lan0") and not lab.carrier("wan0"), 2)
            self.assertFalse(answers(self.client, WAN.host4))
            self.assertIn("via " + WAN.host4, self.router.ip("route", "show", "198.51.100.0/24"))
            lab.start()
            wait_ping(self.client, "198.51.100.1", 5)
            wait_ping(self.client, "2001:db8:99::1", 5)
            after = self.router.ip("addr", "show", "dev", "wan0", "scope", "global")
            self.assertEqual([line.split()[:2] for line in before.splitlines() if "inet" in line],
                             [line.split()[:2] for line in after.splitlines() if "inet" in line])

    def test_tcp_survives_a_crash(self):
        lab = self.lab_with()
        ping(self.client, WAN.host4)
        with self.server.tcp(WAN.host4) as listener, self.client.tcp(WAN.host4) as here:
            listener.bind((WAN.host4, 7200))
            listener.listen(1)
            here.connect((WAN.host4, 7200))
            there, _ = listener.accept()
            with there:
                there.settimeout(10)
                lab.signal(signal.SIGKILL)
                here.sendall(b"while it is dead")
                lab.start()
                self.assertEqual(there.recv(100), b"while it is dead")

    def test_killed_while_starting(self):
        """A kill at any moment of the start does not prevent the next start."""
        lab = self.lab_with(start=False)
        path = lab.folder / "halfpoll.toml"
        path.write_text(lab.config(), encoding="utf-8")
        for delay in (0.01, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.5):
            lab.spawn(path)
            time.sleep(delay)
            lab.signal(signal.SIGKILL)
        lab.start()
        lab.configure()
        wait_ping(self.client, WAN.host4, 3)

    def test_second_instance_is_refused(self):
        lab = self.lab_with()
        second = self.router.run(PROGRAM, "run", lab.folder / "halfpoll.toml", check=False)
        self.assertNotEqual(second.returncode, 0)
        self.assertIn("already running", second.stdout)
        # With another control socket, the second instance is refused because of the interface.
        other = lab.folder / "other.toml"
        other.write_text(lab.config().replace("/control", "/other"), encoding="utf-8")
        third = self.router.run(PROGRAM, "run", other, check=False)
        self.assertNotEqual(third.returncode, 0)
        self.assertIn("p-lan", third.stdout)
        ping(self.client, WAN.host4)
        ping(self.client, WAN.host6)

    def test_interface_that_does_not_exist(self):
        lab = self.lab_with(start=False)
        path = lab.folder / "halfpoll.toml"
        path.write_text(lab.config().replace("af_xdp:p-wan", "af_xdp:p-typo"), encoding="utf-8")
        done = self.router.run(PROGRAM, "run", path, check=False, timeout=20)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("p-typo", done.stdout)
        # The failed start leaves nothing of the first port behind.
        links = self.links()
        self.assertEqual(sorted(links), ["lo", "p-lan", "p-wan"])
        self.assertNotIn("xdp", links["p-lan"])

    def test_shadows_in_another_namespace(self):
        """[runtime] netns: the ports are in one namespace, the shadows in another."""
        lab = self.lab_with(start=False)
        port_side = lab.router
        there = lab.namespaces["apart"] = type(port_side)(f"{lab.number}-apart")
        there.sysctl(ipv4__ip_forward=1, ipv6__conf__all__forwarding=1, ipv6__conf__default__accept_dad=0)
        config = lab.config().replace("[runtime]\n", f'[runtime]\nnetns = "{there.name}"\n')
        lab.config = lambda: config
        lab.start()
        self.assertEqual(sorted(self.links()), ["lo", "p-lan", "p-wan"])
        for net in lab.nets:
            there.ip("link", "set", net.dev, "up")
            there.ip("addr", "add", net.router4 + "/24", "dev", net.dev)
            there.ip("addr", "add", net.router6 + "/64", "dev", net.dev, "nodad")
        wait_ping(self.client, WAN.host4, 3)
        wait_ping(self.client, WAN.host6, 3)

    def test_control_socket_survives_its_clients(self):
        lab = self.lab_with()
        path = str(lab.folder / "control")

        def connect():
            s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            s.settimeout(10)

            def connected():
                try:
                    s.connect(path)
                    return True
                except BlockingIOError:  # the listener's queue is full
                    return False

            wait_for("room in the queue", connected)
            return s

        def ask(line):
            with connect() as s:
                s.sendall(line)
                reply = b""
                while not reply.endswith(b"\n") and (data := s.recv(65536)):
                    reply += data
                return json.loads(reply)

        for garbage in (b"\n", b"nonsense\n", b"[]\n", b"{}\n", b'{"show": 5}\n', b'{"show": "nothing"}\n', b"\xff\x00\n",
                        b'{"show":' * 1000 + b"\n", b'{"set": "napi", "name": "lan", "values": {"busy_poll": "x"}}\n'):
            self.assertIn("error", ask(garbage), garbage[:40])
        with connect() as s:  # a request that is too long is refused, not stored
            try:
                for _ in range(64):
                    s.sendall(bytes(65536))
            except OSError:
                pass
        for _ in range(200):  # clients that leave without the reply
            with connect() as s:
                s.sendall(b'{"show": "fib"}\n')
        silent = [connect() for _ in range(10)]
        self.assertTrue(lab.show("interfaces"))
        for s in silent:
            s.close()
        flood = [connect() for _ in range(60)]
        for s in flood:
            s.close()
        wait_for("it answers again", lambda: lab.halfpoll("show", "napi", check=False).returncode == 0, 5)
        self.assertEqual(pathlib.Path(path).stat().st_mode & 0o777, 0o600)
        ping(self.client, WAN.host4)

    def test_show_everything(self):
        lab = self.lab_with()
        ping(self.client, WAN.host4)
        self.router.ip("route", "add", "198.51.100.0/24", "via", WAN.host4)
        for what in ("interfaces", "napi", "fib", "drops", "punt", "softnet"):
            text = lab.halfpoll("show", what).stdout
            self.assertIsInstance(lab.show(what), list)
            self.assertGreater(len(text), 0)
        interfaces = {i["name"]: i for i in lab.show("interfaces")}
        self.assertEqual(sorted(interfaces), ["lan", "wan"])
        self.assertEqual(interfaces["lan"]["state"], "up")
        self.assertEqual(interfaces["lan"]["mac"].lower(), LAN.router_mac)
        self.assertGreater(interfaces["lan"]["rx_packets"], 0)
        napi = lab.show("napi")
        self.assertEqual({n["interface"] for n in napi}, {"lan", "wan"})
        self.assertEqual({n["mode"] for n in napi}, {"interrupt"}, napi)
        wait_for("the route is shown", lambda: "198.51.100.0/24" in lab.halfpoll("show", "fib").stdout, 3)

    def test_descriptors_do_not_leak(self):
        """Flaps, resynchronisations and requests leave the process with as many descriptors as before."""
        lab = self.lab_with()
        ping(self.client, WAN.host4)

        def descriptors():
            return len(os.listdir(f"/proc/{lab.process.pid}/fd"))

        lab.show("fib")
        before = wait_for("a count", descriptors)
        for _ in range(5):
            lab.host_down(WAN)
            lab.show("interfaces")
            lab.host_up(WAN)
            wait_ping(self.client, WAN.host4, 5)
        wait_for("as many as before", lambda: descriptors() <= before, 5)

    def test_log_is_quiet(self):
        """A start, traffic and a stop produce a handful of lines."""
        lab = self.lab_with()
        with Sink(self.server, WAN.host4, 7100), Stream(self.client, LAN.host4, (WAN.host4, 7100), 2000):
            time.sleep(1)
        lab.signal(signal.SIGTERM)
        self.assertLess(len(lab.output().splitlines()), 20, lab.output())


@unittest.skipIf(KERNEL, "about halfpoll")
class Program(unittest.TestCase):
    """What the program refuses without a router, and how."""

    def setUp(self):
        self.lab = Lab(("lan", "wan"), start=False)
        self.addCleanup(self.lab.stop)
        self.config = self.lab.config()

    def check(self, text, command="check"):
        path = self.lab.folder / "test.toml"
        path.write_text(text, encoding="utf-8")
        return self.lab.router.run(PROGRAM, command, path, check=False, timeout=20)

    def refused(self, text, line, *words):
        """Checks that both check and run refuse a text with "file:line:", and name what they found and expected."""
        for command in ("check", "run"):
            done = self.check(text, command)
            self.assertNotEqual(done.returncode, 0, done.stdout)
            self.assertIn(f"test.toml:{line}:", done.stdout)
            for word in words:
                self.assertIn(word, done.stdout)

    def test_good_configuration(self):
        done = self.check(self.config)
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_bad_configurations(self):
        port = '\n[[port]]\ndevice = "af_xdp:p-x"\nshadow = "x0"\n'
        runtime = "[runtime]\n"
        for text, line, words in (
                ("", 1, ["[[port]]"]),
                ("[runtime\n", 1, []),
                (runtime + "cpus = [999]\n" + port, 2, ["999"]),
                (runtime + 'cpus = "all"\n' + port, 2, ["cpus", "expected"]),
                (runtime + "no_such_key = 1\n" + port, 2, ["no_such_key"]),
                (runtime + 'netns = "no-such-namespace"\n' + port, 2, ["no-such-namespace"]),
                (runtime + 'control = "relative"\n' + port, 2, ["absolute"]),
                (port + "mtu = 20\n", 5, ["mtu", "20", "68"]),
                (port + 'rx_queues = "two"\n', 5, ["rx_queues", "expected"]),
                (port + port, 7, ["again"]),
                ('[[port]]\nshadow = "x0"\n', 1, ["device"]),
                ('[[port]]\ndevice = "eth0"\nshadow = "x0"\n', 2, ["af_xdp:"]),
                ('[[port]]\ndevice = "af_xdp:p-x"\nshadow = "a name that is too long"\n', 3, ["shadow"])):
            with self.subTest(text):
                self.refused(text, line, *words)

    def test_configuration_that_cannot_be_read(self):
        for path in ("/nonexistent/halfpoll.toml", str(self.lab.folder)):
            for command in ("check", "run"):
                done = run(PROGRAM, command, path, check=False)
                self.assertNotEqual(done.returncode, 0)
                self.assertIn(path, done.stdout)

    def test_usage(self):
        for arguments in ((), ("nonsense",), ("run",), ("show", "nonsense")):
            done = run(PROGRAM, *arguments, check=False)
            self.assertNotEqual(done.returncode, 0, arguments)
        for arguments in (("--help",), ("run", "--help"), ("show", "--help"), ("--version",)):
            self.assertGreater(len(run(PROGRAM, *arguments).stdout), 5)

    def test_nobody_runs(self):
        done = run(PROGRAM, "show", "interfaces", "--control", str(self.lab.folder / "control"), check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(str(self.lab.folder / "control"), done.stdout)

    def test_missing_privileges_are_named(self):
        program = self.lab.program_for_all()
        path = self.lab.folder / "test.toml"
        path.write_text(self.config, encoding="utf-8")
        path.chmod(0o644)
        done = self.lab.router.run("setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", program, "run",
                                   path, check=False, timeout=20)
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stdout, "CAP_(NET_ADMIN|NET_RAW|BPF|SYS_ADMIN)")
        self.assertLess(len(done.stdout.splitlines()), 10, done.stdout)
