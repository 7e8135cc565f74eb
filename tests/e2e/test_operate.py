# SPDX-License-Identifier: BSD-3-Clause
"""Operating a running router: reload, set, show, and repair of what is broken under it."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import time
import unittest

from lab import KERNEL, NETWORKS, PROGRAM, Lab, run, wait_for
from traffic import Sink, Stream, ping, wait_ping

TRACE_LINE = re.compile(r"(?P<thread>.*)-\d+ +\[\d{3}\] +(?P<us>\d+\.\d{3}) (?P<event>\w+): (?P<about>.*)")
LAN, WAN, ALT = NETWORKS["lan"], NETWORKS["wan"], NETWORKS["alt"]
ROOT = pathlib.Path(__file__).resolve().parents[2]


def port(net, device=None, more=""):
    return f'\n[[port]]\nname = "{net.name}"\ndevice = "af_xdp:{device or net.port}"\nshadow = "{net.dev}"\n{more}'


class ReloadLab(Lab):
    """Three hosts; the router serves the first two until another configuration is loaded."""

    def text(self, *ports, runtime="", more=""):
        head = f'[runtime]\ncpus = [0]\ncontrol = "{self.folder}/control"\n{runtime}'
        return head + "".join(ports or (port(LAN), port(WAN))) + more

    def config(self):
        return self.text()

    def write(self, *ports, **parts):
        (self.folder / "halfpoll.toml").write_text(self.text(*ports, **parts), encoding="utf-8")

    def reload(self, *ports, check=True, options=(), **parts):
        self.write(*ports, **parts)
        return self.halfpoll("reload", *options, check=check, timeout=60)

    def configure_only(self, *nets):
        everything, self.nets = self.nets, nets
        self.configure()
        self.nets = everything


class LossFree:
    """`with`: a stream from client to server that must arrive without loss."""

    def __init__(self, lab):
        self.sink = Sink(lab.server, WAN.host4, 7100)
        self.stream = Stream(lab.client, LAN.host4, (WAN.host4, 7100), 1000, sinks=[self.sink])

    def __enter__(self):
        self.sink.__enter__()
        self.stream.__enter__()
        wait_for("the stream runs", lambda: len(self.sink.got) > 20)
        return self

    def __exit__(self, kind, *rest):
        self.stream.__exit__(kind, *rest)
        try:
            if kind is None:
                wait_for("every datagram has arrived", lambda: len(self.sink.got) == self.stream.sent, 2)
                assert self.sink.got == sorted(self.sink.got), "out of order"
        finally:
            self.sink.__exit__(kind, *rest)


class ReloadCase(unittest.TestCase):
    def setUp(self):
        self.lab = ReloadLab(("lan", "wan", "alt"), configure=False)
        self.addCleanup(self.lab.stop)
        self.lab.configure_only(LAN, WAN)
        self.client, self.router = self.lab.client, self.lab.router
        ping(self.client, WAN.host4)

    def indices(self):
        return {i["name"]: i["ifindex"] for i in self.lab.show("interfaces")}

    def state(self, name):
        return self.lab.interface(name)["state"]

    def system_call(self):
        """Returns the number of the system call in which the control thread waits."""
        return pathlib.Path(f"/proc/{self.lab.process.pid}/syscall").read_text(encoding="ascii").split()[0]

    def refused(self, *ports, **parts):
        done = self.lab.reload(*ports, check=False, **parts)
        self.assertEqual(done.returncode, 1, done.stdout)
        return done.stdout


@unittest.skipIf(KERNEL, "about halfpoll")
class Reload(ReloadCase):
    def ports(self):
        return sorted(i["name"] for i in self.lab.show("interfaces"))

    def links(self):
        return sorted(link["ifname"] for link in self.router.ip_json("link"))

    def test_nothing_to_do(self):
        self.assertEqual(self.lab.reload().stdout, "no changes\n")

    def test_ports_come_and_go_under_traffic(self):
        """No packet is lost between the two ports that stay, and the process leaks neither memory nor descriptors."""
        before = None
        with LossFree(self.lab):
            for _ in range(3):
                out = self.lab.reload(port(LAN), port(WAN), port(ALT)).stdout
                self.assertRegex(out, r"^\+ port alt: ")
                self.assertEqual(self.ports(), ["alt", "lan", "wan"])
                self.lab.configure_only(ALT)
                wait_ping(self.client, ALT.host4, 5)
                wait_ping(self.client, ALT.host6, 5)
                out = self.lab.reload().stdout
                self.assertRegex(out, r"^- port alt: ")
                self.assertEqual(self.ports(), ["lan", "wan"])
                self.assertNotIn("alt0", self.links(), "a shadow that halfpoll made goes with its port")
                descriptors = len(os.listdir(f"/proc/{self.lab.process.pid}/fd"))
                before = before or descriptors
                self.assertLessEqual(descriptors, before)

    def test_settings_change_under_traffic(self):
        with LossFree(self.lab):
            lan = port(LAN, more="mtu = 1400\npromiscuous = true\nnapi_defer_hard_irqs = 2\ngro_flush_timeout = 20000\n")
            out = self.lab.reload(lan, port(WAN), runtime="netdev_budget = 64\n",
                                  more="[punt.ttl]\nrate = 7\nburst = 3\n").stdout
            for line in ("~ port lan mtu: 1500 -> 1400", "~ port lan promiscuous: false -> true",
                         "~ port lan napi_defer_hard_irqs: 0 -> 2", "~ [runtime] netdev_budget: 300 -> 64",
                         "~ [punt.ttl] rate: 10000 -> 7", "~ [punt.ttl] burst: 1000 -> 3"):
                self.assertIn(line + "\n", out)
            self.assertEqual(self.lab.interface("lan")["mtu"], 1400)
            self.assertEqual(self.router.ip_json("link", "show", "dev", "lan0")[0]["mtu"], 1400)
            napi = next(n for n in self.lab.show("napi") if n["interface"] == "lan")
            self.assertEqual((napi["napi_defer_hard_irqs"], napi["gro_flush_timeout"]), (2, 20000))
            ttl = next(p for p in self.lab.show("punt") if p["class"] == "ttl")
            self.assertEqual((ttl["rate"], ttl["burst"]), (7, 3))
            self.lab.reload()
            self.assertEqual(self.router.ip_json("link", "show", "dev", "lan0")[0]["mtu"], 1500)
        self.assertEqual(self.lab.reload().stdout, "no changes\n")
        ping(self.client, WAN.host4, "-s", 1472, "-M", "do")

    def test_what_set_changed_goes_back(self):
        self.lab.halfpoll("set", "napi", "lan", "busy_poll=50")
        self.lab.halfpoll("set", "runtime", "netdev_budget=64", "netdev_max_backlog=77", "skb_defer_max=128")
        self.lab.halfpoll("set", "punt", "ttl", "rate=5")
        out = self.lab.reload().stdout
        self.assertIn('~ port lan busy_poll: 50 -> "adaptive"\n', out)
        self.assertIn("~ [runtime] netdev_budget: 64 -> 300\n", out)
        self.assertIn("~ [runtime] netdev_max_backlog: 77 -> 1000\n", out)
        self.assertIn("~ [runtime] skb_defer_max: 128 -> 0\n", out)
        self.assertIn("~ [punt.ttl] rate: 5 -> 10000\n", out)
        self.assertEqual(self.lab.reload().stdout, "no changes\n")

    def test_dry_run_changes_nothing(self):
        done = self.lab.reload(port(LAN, more="mtu = 1400\n"), port(ALT), options=("--dry-run",))
        self.assertIn("+ port alt", done.stdout)
        self.assertIn("- port wan", done.stdout)
        self.assertIn("~ port lan mtu", done.stdout)
        self.assertEqual(self.ports(), ["lan", "wan"])
        self.assertEqual(self.lab.interface("lan")["mtu"], 1500)
        rows = json.loads(self.lab.halfpoll("reload", "--dry-run", "--json").stdout)
        self.assertEqual({(r["change"], r["where"]) for r in rows["reload"]},
                         {("added", "port alt"), ("removed", "port wan"), ("changed", "port lan")})
        self.assertFalse(rows["applied"])
        ping(self.client, WAN.host4)

    def test_what_needs_a_restart_is_refused_whole(self):
        done = self.lab.reload(port(LAN, more="mtu = 1400\n"), port(WAN), port(ALT), runtime="mbufs = 8192\n", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("nothing was changed", done.stdout)
        self.assertIn("[runtime] mbufs: 16384 -> 8192", done.stdout)
        self.assertNotIn("alt", done.stdout)
        self.assertEqual(self.ports(), ["lan", "wan"])
        self.assertEqual(self.lab.interface("lan")["mtu"], 1500)
        dry = self.lab.halfpoll("reload", "--dry-run", check=False)
        self.assertEqual(dry.returncode, 1)
        self.assertIn("mbufs", dry.stdout)

    def test_a_file_with_mistakes(self):
        done = self.lab.reload(port(LAN, more="mtu = 7\n"), check=False)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, r"halfpoll\.toml:\d+: mtu: found 7")
        missing = self.lab.halfpoll("reload", self.lab.folder / "none.toml", check=False)
        self.assertIn("none.toml", missing.stdout)
        self.assertEqual(self.ports(), ["lan", "wan"])

    def test_another_file(self):
        """A relative path is resolved by the caller; from then on that file is the configuration in use."""
        (self.lab.folder / "other.toml").write_text(self.lab.text(port(LAN), port(WAN), port(ALT)), encoding="utf-8")
        self.lab.halfpoll("reload", "other.toml", cwd=self.lab.folder)
        self.assertEqual(self.ports(), ["alt", "lan", "wan"])
        self.assertEqual(self.lab.halfpoll("reload").stdout, "no changes\n")

    def test_a_failed_port_rolls_everything_back(self):
        with LossFree(self.lab):
            done = self.lab.reload(port(LAN, more="mtu = 1400\nbusy_poll = 5\n"), port(WAN), port(ALT),
                                   port(NETWORKS["lan"], "p-none").replace('"lan', '"none'),
                                   runtime="netdev_budget = 9\n", more="[punt.ttl]\nrate = 5\n", check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn("p-none", done.stdout)
            self.assertIn("everything is as it was", done.stdout)
            self.assertEqual(self.ports(), ["lan", "wan"])
            self.assertEqual(self.links(), ["lan0", "lo", "p-alt", "p-lan", "p-wan", "wan0"])
            self.assertEqual(self.router.ip_json("link", "show", "dev", "lan0")[0]["mtu"], 1500)
            self.lab.write()
            self.assertEqual(self.lab.halfpoll("reload").stdout, "no changes\n")

    def test_a_port_that_is_opened_again_keeps_its_shadow(self):
        """Addresses and routes stay, both when a reload succeeds and when it is rolled back."""
        self.router.ip("route", "add", "198.51.100.0/24", "via", WAN.host4)
        wait_ping(self.client, "198.51.100.1", 3)
        addresses = self.router.ip("addr", "show", "dev", "wan0", "scope", "global")
        self.lab.reload(port(LAN), port(WAN, more="descriptors = 512\n"))
        wait_ping(self.client, "198.51.100.1", 5)
        self.assertEqual(self.router.ip("addr", "show", "dev", "wan0", "scope", "global"), addresses)
        done = self.lab.reload(port(LAN), port(WAN, "p-none"), check=False)
        self.assertIn("everything is as it was", done.stdout)
        wait_ping(self.client, "198.51.100.1", 5)
        self.assertEqual(self.router.ip("addr", "show", "dev", "wan0", "scope", "global"), addresses)
        self.lab.signal(signal.SIGTERM)
        self.assertEqual(self.links(), ["lo", "p-alt", "p-lan", "p-wan"], "it still knows that it made them")

    def test_ports_swap_their_devices(self):
        self.lab.reload(port(LAN, WAN.port), port(WAN, LAN.port))
        wan = self.lab.interface("wan")
        self.assertEqual((wan["state"], wan["mac"]), ("up", LAN.router_mac))
        self.lab.reload()
        self.assertEqual(self.lab.interface("wan")["mac"], WAN.router_mac)

    def test_a_deleted_shadow_is_made_again(self):
        with LossFree(self.lab):
            self.lab.reload(port(LAN), port(WAN), port(ALT))
            for _ in range(3):
                self.lab.configure_only(ALT)
                wait_ping(self.client, ALT.host4, 5)
                self.router.ip("link", "del", "alt0")
                wait_for("the shadow is back", lambda: "alt0" in self.links(), 5)
                self.assertEqual(self.lab.interface("alt")["state"], "up")
        self.assertIn("alt0: its kernel interface was deleted", self.lab.output())

    def test_a_shadow_that_cannot_be_made_again(self):
        """If its name is taken, the failure is reported and the next reload tries again."""
        self.addCleanup(self.lab.process.send_signal, signal.SIGCONT)
        self.lab.process.send_signal(signal.SIGSTOP)
        self.router.ip("link", "del", "wan0")
        self.router.ip("link", "add", "wan0", "type", "veth", "peer", "name", "other0")
        self.lab.process.send_signal(signal.SIGCONT)
        wait_for("it is seen", lambda: self.lab.interface("wan")["state"] == "no shadow", 5)
        self.assertIn("wan0", self.lab.interface("wan")["failure"])
        self.assertIn("wan0", self.lab.halfpoll("reload").stdout)
        self.router.ip("link", "del", "wan0")
        self.lab.halfpoll("reload")
        wait_for("the shadow is back", lambda: self.lab.interface("wan")["state"] == "up", 5)
        self.lab.configure_only(WAN)
        wait_ping(self.client, WAN.host4, 5)

    def test_a_vanished_port_is_named(self):
        self.lab.server.ip("link", "del", "eth0")
        wait_for("the failure is seen", lambda: self.lab.interface("wan")["failure"], 5)
        self.assertIn("p-wan was removed", self.lab.interface("wan")["failure"])
        self.assertIn("~ port lan mtu", self.lab.reload(port(LAN, more="mtu = 1400\n"), port(WAN)).stdout)
        self.assertRegex(self.lab.reload(port(LAN)).stdout, "- port wan")
        self.assertEqual(self.ports(), ["lan"])


class ThreadsLab(ReloadLab):
    """Several bottom-half threads on the data CPU."""

    def text(self, *ports, runtime="", more=""):
        big = 'exclusion = "big"\nksoftirqd = true\nirq_workd = true\nthread_backlog_napi = true\n'
        return super().text(*ports, runtime=big + runtime, more=more)


@unittest.skipIf(KERNEL, "about halfpoll")
class Threads(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = ThreadsLab(("lan", "wan"))
        ping(cls.lab.client, WAN.host4)

    @classmethod
    def tearDownClass(cls):
        cls.lab.stop()

    def threads(self):
        tasks = pathlib.Path(f"/proc/{self.lab.process.pid}/task").iterdir()
        return {(task / "comm").read_text(encoding="ascii").strip() for task in tasks}

    def test_all_are_there(self):
        self.assertLessEqual({"hp/0", "ksoftirqd/0", "irq_work/0", "backlog_napi/0"}, self.threads())
        status = self.lab.show("status")
        self.assertEqual((status["exclusion"], status["threads"]), ("big", ["ksoftirqd", "irq_work", "backlog_napi"]))

    def test_threaded_napi_is_switched_while_packets_flow(self):
        """No packet is lost or overtaken, whichever thread polls."""
        with LossFree(self.lab):
            for mode in ("enabled", "busy-poll", "disabled", "busy-poll", "enabled", "disabled"):
                self.lab.halfpoll("set", "napi", "lan", f"threaded={mode}")
                self.assertEqual({n["threaded"] for n in self.lab.show("napi") if n["interface"] == "lan"}, {mode})
                self.assertEqual("napi/lan-0" in self.threads(), mode != "disabled")
                time.sleep(0.1)  # some packets in each mode
            self.lab.reload(port(LAN, more='threaded = "enabled"\n'), port(WAN))
            self.assertIn("napi/lan-0", self.threads())
            self.assertIn('~ port lan threaded: "enabled" -> "disabled"\n', self.lab.reload().stdout)

    def test_softnet_has_the_columns_of_the_kernel(self):
        row, = self.lab.show("softnet")
        self.assertGreater(row["processed"], 0)
        text = self.lab.halfpoll("show", "softnet").stdout.splitlines()
        self.assertEqual(text[0].split(), ["processed", "dropped", "time_squeeze", *(f"zero{i}" for i in range(4, 10)),
                                           "received_rps", "flow_limit_count", "backlog_len", "cpu", "input_qlen",
                                           "process_qlen"])
        self.assertEqual(len(text[1].split()), 15)


@unittest.skipIf(KERNEL, "about halfpoll")
class Operate(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab(("lan", "wan"), config='\n[log]\nlevel = "info"\n')
        cls.client, cls.router = cls.lab.client, cls.lab.router
        ping(cls.client, WAN.host4)
        ping(cls.client, WAN.host6)

    @classmethod
    def tearDownClass(cls):
        cls.lab.stop()

    def json(self, *args):
        return json.loads(self.lab.halfpoll("show", *args, "--json").stdout)

    def refused(self, *args):
        done = self.lab.halfpoll(*args, check=False)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertEqual(len(done.stdout.splitlines()), 1, done.stdout)
        return done.stdout

    def test_json_is_an_object_under_what_it_shows(self):
        for what in ("interfaces", "napi", "softnet", "softirqs", "rps", "fib", "route", "neigh", "nexthop", "drops", "punt", "policy"):
            reply = self.json(what)
            self.assertIsInstance(reply, dict, what)
            self.assertIsInstance(reply[what], list, what)
            self.assertTrue(reply[what] or what == "drops", what)
            self.assertTrue(self.lab.halfpoll("show", what).stdout)
        self.assertIsInstance(self.json("status")["status"], dict)
        for what in ("fib", "route", "neigh", "nexthop"):
            self.assertEqual(self.json(what, "203.0.113.0/25")[what], [])

    def test_help_has_a_line_for_each_table(self):
        names = re.search(r"not in {(.*)}", self.lab.halfpoll("show", "nonsense", check=False).stdout)[1].split(",")
        lines = re.findall(r"^  (\w+) +\w.*$", self.lab.halfpoll("show", "--help").stdout.partition("WHAT:\n")[2], re.MULTILINE)
        self.assertEqual(lines, names)
        page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
        rows = re.findall(r"^\| `(\w+)` \|", page.partition("\n## show\n")[2].partition("\n### ")[0], re.MULTILINE)
        self.assertEqual(rows, names)
        for name in names:
            self.assertTrue(self.lab.halfpoll("show", name).stdout, name)

    def test_filters(self):
        self.router.ip("route", "replace", "198.51.100.0/24", "via", WAN.host4, "metric", 7)
        wait_for("the route is known", lambda: self.json("route", "198.51.100.0/24")["route"], 3)
        route, = self.json("route", "198.51.100.0/22")["route"]
        self.assertEqual({k: route[k] for k in ("prefix", "type", "table", "metric", "via", "dev", "shadow")},
                         {"prefix": "198.51.100.0/24", "type": "unicast", "table": "main", "metric": 7,
                          "via": WAN.host4, "dev": "wan", "shadow": "wan0"})
        lookup, = self.json("route", "198.51.100.9")["route"]
        self.assertEqual((lookup["to"], lookup["prefix"], lookup["kind"], lookup["dev"], lookup["lladdr"]),
                         ("198.51.100.9", "198.51.100.0/24", "forward", "wan", WAN.host_mac))
        covering = self.json("fib", WAN.host4)["fib"]
        self.assertEqual(covering[-1]["prefix"], WAN.host4 + "/32", "the one that decides comes last")
        self.assertIn(WAN.host4.rsplit(".", 1)[0] + ".0/24", [r["prefix"] for r in covering])
        self.assertEqual({n["address"] for n in self.json("neigh", "10.77.0.0/16", "--dev", "wan0")["neigh"]}, {WAN.host4})
        self.assertEqual({n["dev"] for n in self.json("neigh", "--dev", "lan")["neigh"]}, {"lan"})
        self.assertEqual({r["dev"] for r in self.json("route", "--dev", "wan")["route"]}, {"wan"})
        hops = self.json("nexthop", WAN.host4)["nexthop"]
        self.assertEqual({(n["via"], n["dev"], n["kind"]) for n in hops}, {(WAN.host4, "wan", "forward")})
        self.assertEqual(len(self.json("fib", "--limit", 3)["fib"]), 3)
        for args in (("show", "fib", "10.0.0.0/33"), ("show", "route", "nonsense"), ("show", "neigh", "--dev", "no-such")):
            self.refused(*args)

    def test_a_connected_prefix_names_its_port(self):
        row, = self.json("fib", "10.77.2.0/24")["fib"][:1]
        self.assertEqual((row["prefix"], row["kind"], row["dev"], row["why"]), ("10.77.2.0/24", "punt", "wan", "resolve"))

    def test_set(self):
        self.lab.halfpoll("set", "runtime", "netdev_budget=128", "netdev_budget_usecs=500")
        self.lab.halfpoll("set", "punt", "too_big", "rate=12", "burst=34")
        row = next(p for p in self.json("punt")["punt"] if p["class"] == "too_big")
        self.assertEqual((row["rate"], row["burst"]), (12, 34))
        self.lab.halfpoll("set", "napi", "lan-0", "busy_poll=7")
        self.assertEqual(next(n for n in self.json("napi")["napi"] if n["name"] == "lan-0")["busy_poll"], 7)
        self.lab.halfpoll("set", "napi", "lan", "busy_poll=adaptive")
        self.lab.halfpoll("set", "log", "level=debug")
        ping(self.client, WAN.host4)

    def test_bad_values_name_the_range_and_change_nothing(self):
        before = [self.json(what) for what in ("status", "napi", "punt")]
        settings = [r["netdev_budget"] for r in (before[0]["status"],)]
        for args, words in (
                (("runtime", "netdev_budget=0"), ["netdev_budget", "1 to 1000000"]),
                (("runtime", "netdev_budget=64", "netdev_budget_usecs=x"), ["netdev_budget_usecs", "1 to 1000000"]),
                (("runtime", "netdev_budget=64", "netdev_max_backlog=99999"), ["netdev_max_backlog", "1 to 2047"]),
                (("napi", "lan", "threaded=often"), ["threaded", "disabled, enabled or busy-poll"]),
                (("napi", "lan", "threaded=enabled"), ["threaded", "exclusive"]),
                (("runtime", "netdev_budged=64"), ["unknown setting netdev_budged", "netdev_budget"]),
                (("punt", "ttl", "rate=99999999999999999999"), ["rate", "0 to 10000000"]),
                (("punt", "ttl", "rate=5", "burst=0"), ["burst", "1 to 1000000"]),
                (("punt", "nothing", "rate=5"), ["nothing", "arp_nd"]),
                (("napi", "lan", "busy_poll=never"), ["busy_poll", "adaptive", "1000000"]),
                (("napi", "lan", "gro_flush_timeout=-1"), ["gro_flush_timeout", "0 to 10000000000"]),
                (("napi", "nobody", "busy_poll=1"), ["nobody"]),
                (("log", "level=loud"), ["loud", "debug", "warning"]),
                (("runtime", "netdev_budget"), ["key=value"])):
            text = self.refused("set", *args)
            for word in words:
                self.assertIn(word, text)
        after = [self.json(what) for what in ("status", "napi", "punt")]
        self.assertEqual([r["netdev_budget"] for r in (after[0]["status"],)], settings)
        self.assertEqual([{k: p[k] for k in ("class", "rate", "burst")} for p in after[2]["punt"]],
                         [{k: p[k] for k in ("class", "rate", "burst")} for p in before[2]["punt"]])
        self.assertEqual([n["busy_poll"] for n in after[1]["napi"]], [n["busy_poll"] for n in before[1]["napi"]])

    def test_trace_of_a_running_router(self):
        """The trace has a line for each event, ordered by time. Threads leave what they enter, and no files remain."""
        with Sink(self.lab.server, WAN.host4, 7100), Stream(self.client, LAN.host4, (WAN.host4, 7100), 500):
            text = self.lab.halfpoll("trace", "--ms", 1000).stdout
        lines = [TRACE_LINE.fullmatch(line) for line in text.splitlines() if line]
        self.assertTrue(lines and all(lines), text[:1000])
        times = [float(line["us"]) for line in lines]
        self.assertEqual(times, sorted(times))
        events = [(line["event"], line["about"]) for line in lines if line["thread"] == "hp/0"]
        self.assertIn(("irq_handler_entry", "name=lan-0"), events)
        self.assertIn(("sched_run", "prio=0"), events)
        open_vec, pairs = None, 0
        for event, vec in (e for e in events if e[0] in ("softirq_entry", "softirq_exit")):
            self.assertEqual(open_vec, None if event == "softirq_entry" else vec)
            pairs += event == "softirq_exit"
            open_vec = vec if event == "softirq_entry" else None
        self.assertGreater(pairs, 0)
        self.assertEqual(list(self.lab.folder.glob("rte-*/*")), [])
        only = self.lab.halfpoll("trace", "--ms", 50, "--events", "napi_poll").stdout
        self.assertEqual({line.split()[3] for line in only.splitlines() if line} - {"napi_poll:"}, set())
        self.assertIn("no tracepoint matches", self.refused("trace", "--events", "no_such_event"))
        self.assertIn("expected 1 to 10000", self.refused("trace", "--ms", 10_001))
        self.assertIn("no trace, it has no file", self.refused("trace", self.lab.folder))

    def test_watch_shows_rates(self):
        with Stream(self.client, LAN.host4, (WAN.host4, 7300), 500):
            out = self.lab.halfpoll("show", "interfaces", "--watch", 0.5, "--count", 3, "--json").stdout
        turns = [json.loads(line) for line in out.splitlines()]
        self.assertEqual(len(turns), 3)
        rates = [next(i for i in t["interfaces"] if i["name"] == "lan")["rx_packets"] for t in turns]
        self.assertTrue(any(rates), rates)
        self.assertLess(max(rates), 2000, rates)  # a busy machine sends fewer than 500, and may send them late
        text = self.lab.halfpoll("show", "punt", "--watch", 0.1, "--count", 2).stdout
        self.assertEqual(text.count("per second"), 2)
        self.assertEqual(self.lab.halfpoll("show", "neigh", "--watch", 0.1, "--count", 2).stdout.count("lladdr"), 2)

    def test_a_large_table(self):
        """A table is shown page by page: complete, in order, each row once. Other clients are answered meanwhile."""
        count = 20_000
        batch = self.lab.folder / "routes"
        with open(batch, "w", encoding="ascii") as out:
            for i in range(count):
                out.write(f"route add 100.{64 + i // 65536}.{i // 256 % 256}.{i % 256}/32 via {WAN.host4}\n")
        self.router.ip("-batch", batch, timeout=60)
        wait_for("the FIB has them", lambda: self.json("fib", "--limit", 1)["routes4"] >= count, 30)
        slow = subprocess.Popen([PROGRAM, "show", "fib", "--control", f"{self.lab.folder}/control"], stdout=subprocess.PIPE)
        self.addCleanup(slow.wait)
        self.addCleanup(slow.stdout.close)
        self.addCleanup(slow.kill)
        self.assertTrue(slow.stdout.readline())  # this client reads no further
        for _ in range(10):
            self.lab.show("interfaces")
        for what in ("fib", "route"):
            rows = [r["prefix"] for r in self.json(what, "100.64.0.0/10")[what]]
            self.assertEqual(len(rows), count)
            self.assertEqual(len(set(rows)), count)
            self.assertEqual(rows, sorted(rows, key=lambda p: tuple(map(int, p.split("/")[0].split(".")))))
        text = self.lab.halfpoll("show", "fib").stdout
        self.assertGreater(text.count("\n"), count)
        self.assertEqual(text.count("lladdr"), 1, "one header")
        last = f"100.{64 + (count - 1) // 65536}.{(count - 1) // 256 % 256}.{(count - 1) % 256}"
        self.assertEqual(self.json("fib", last)["fib"][-1]["prefix"], last + "/32")

    def test_pages_that_make_no_sense(self):
        for request in ({"show": "fib", "from": "x"}, {"show": "nexthop", "from": "10.0.0.0/8x"}, {"show": "fib", "limit": "x"},
                        {"show": "route", "to": 5}, {"set": "punt"}, {"set": "nothing", "values": {"a": 1}},
                        {"set": "runtime", "values": [1]}, {"set": "napi", "name": "lan", "values": {}}, {"reload": 5},
                        {"set": "log", "values": {"level": None}}):
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(10)
                s.connect(f"{self.lab.folder}/control")
                s.sendall(json.dumps(request).encode() + b"\n")
                reply = json.loads(s.makefile().readline())
            self.assertEqual(list(reply), ["error"], request)
        ping(self.client, WAN.host4)

    def complete(self, line):
        """Returns what bash offers at the end of a command line."""
        data = pathlib.Path(__file__).parents[2] / "apps/halfpoll/data/halfpoll.bash"
        words = line.split(" ")
        script = (f'source {data}; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; _halfpoll; '
                  'printf "%s\\n" "${COMPREPLY[@]}"')
        control = ["--control", f"{self.lab.folder}/control"]
        done = run("bash", "-c", script, "bash", PROGRAM, *control, *words)
        return done.stdout.split()

    def test_bash_completion(self):
        self.assertEqual(self.complete("re"), ["reload"])
        self.assertEqual(self.complete("do"), ["doctor"])
        self.assertEqual(self.complete("trace --e"), ["--events"])
        self.assertEqual(self.complete("doctor --j"), ["--json"])
        self.assertEqual(self.complete("bind --f"), ["--force"])
        self.assertEqual(self.complete("show ne"), ["neigh", "nexthop"])
        self.assertEqual(self.complete("show fib --d"), ["--dev"])
        self.assertEqual(self.complete("show pol"), ["policy"])
        self.assertEqual(sorted(self.complete("show fib --dev ")), ["lan", "lan0", "wan", "wan0"])
        self.assertEqual(sorted(self.complete("set napi w")), ["wan", "wan-0"])
        self.assertEqual(self.complete("set napi wan b"), ["busy_poll="])
        self.assertEqual(self.complete("set punt to"), ["too_big"])
        self.assertEqual(self.complete("set runtime netdev_budget_"), ["netdev_budget_usecs="])
        self.assertEqual(self.complete("set napi wan threaded=d"), ["threaded=disabled"])
        self.assertEqual(self.complete("set "), ["napi", "rps", "runtime", "punt", "autoscale", "log", "--control"])
