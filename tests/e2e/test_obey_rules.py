# SPDX-License-Identifier: BSD-3-Clause
"""Policy routing (`ip rule`) and routes with a TOS or a source prefix: each packet arrives where the kernel would send
it. The rows are the kernel's own answers: they hold with HALFPOLL_E2E_ROUTER=kernel, too."""

import contextlib
import socket
import unittest

from lab import FAR4, FAR4_NET, FAR6, FAR6_NET, KERNEL, NETWORKS, Lab, wait_for
from traffic import Sink, ping

LAN, WAN, ALT = NETWORKS["lan"], NETWORKS["wan"], NETWORKS["alt"]
PORT, COUNT = 7100, 20
OTHER6 = "fd77:1::77"  # a further address of the client
SERVER, BACKUP = "server", "backup"
FAST, KERNELS = "fast", "kernel"  # who forwards, if the router is halfpoll

# The main table leads to the server, tables 100 and (where a row says so) default to the backup.
RULES = (
    # rules, receiver, who forwards
    (["pref 100 not iif lo table 100"], BACKUP, KERNELS),
    (["pref 100 not oif wan0 table 100"], BACKUP, KERNELS),
    (["pref 100 not fwmark 7 table 100"], BACKUP, KERNELS),
    (["pref 100 not uidrange 5-9 table 100"], BACKUP, KERNELS),
    (["pref 100 iif lan0 table 100"], BACKUP, KERNELS),
    (["pref 100 ipproto udp dport 7100 table 100"], BACKUP, KERNELS),
    (["pref 100 ipproto tcp table 100"], SERVER, KERNELS),  # halfpoll does not look at what a rule selects
    (["pref 100 fwmark 7 table 100"], SERVER, KERNELS),
    (["pref 90 suppress_prefixlength 70 table main", "pref 100 table 100"], BACKUP, KERNELS),
    (["pref 90 goto 100", "pref 95 table main", "pref 100 table 100"], BACKUP, KERNELS),
    (["pref 100 table default"], SERVER, FAST),  # it is empty
    (["pref 100 iif lo table 100"], SERVER, FAST),
    (["pref 100 oif wan0 table 100"], SERVER, FAST),
    (["pref 100 iif alt0 table 100"], SERVER, FAST),
    (["pref 100 uidrange 5-9 table 100"], SERVER, FAST),
    (["pref 100 not from all table 100"], SERVER, FAST),
    (["pref 90 table main", "pref 100 table 100"], SERVER, FAST),
    (["pref 90 goto 32766", "pref 100 table 100"], SERVER, FAST),
    (["pref 40000 table 100"], SERVER, FAST),
)


class ObeyRules(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.client, cls.router = cls.lab.client, cls.lab.router
        cls.client.ip("addr", "add", f"{OTHER6}/64", "dev", "eth0", "nodad")
        for net in (WAN, ALT):
            ping(cls.router, net.host4)
            ping(cls.router, net.host6)

    @classmethod
    def tearDownClass(cls):
        cls.lab.stop()

    @contextlib.contextmanager
    def configured(self, *commands):
        """Runs `ip` commands with `add` in their middle on the router, and the same with `del` at the end."""
        done = []
        try:
            for command in commands:
                self.router.ip(*command.split())
                done.append(command)
            self.settle()
            yield
        finally:
            for command in reversed(done):
                self.router.ip(*command.replace(" add ", " del ").split())
            self.settle()

    def settle(self):
        if not KERNEL:
            wait_for("the mirror has applied all", lambda: self.lab.show("status")["netlink_settled"])

    def receivers(self, source, destination, tos=0):
        """Sends datagrams and returns the names of those that got them."""
        with Sink(self.lab.server, destination, PORT) as one, Sink(self.lab.backup, destination, PORT) as two, \
                self.client.udp(source) as s:
            if tos:
                s.setsockopt(*((socket.IPPROTO_IPV6, socket.IPV6_TCLASS) if ":" in source else
                               (socket.IPPROTO_IP, socket.IP_TOS)), tos)
            for number in range(COUNT):
                s.sendto(number.to_bytes(8, "big"), (destination, PORT))
            wait_for("all arrive", lambda: len(one.got) + len(two.got) >= COUNT, 3)
            return [name for name, sink in ((SERVER, one), (BACKUP, two)) for _ in sink.got]

    def check(self, source, destination, receiver, way, tos=0):
        before = None if KERNEL else self.lab.left_to_kernel()
        self.assertEqual(self.receivers(source, destination, tos), [receiver] * COUNT)
        if not KERNEL:
            self.assertEqual(self.lab.left_to_kernel() - before, COUNT if way == KERNELS else 0)

    def families(self):
        """Yields the option of `ip`, source and destination, and the routes that all rows have."""
        for option, source, far, net, server, backup in (("-4", LAN.host4, FAR4, FAR4_NET, WAN.host4, ALT.host4),
                                                         ("-6", LAN.host6, FAR6, FAR6_NET, WAN.host6, ALT.host6)):
            yield option, source, far, (f"{option} route add {net} via {server}",
                                        f"{option} route add {net} via {backup} table 100")

    def test_rules(self):
        for option, source, far, routes in self.families():
            with self.configured(*routes):
                self.check(source, far, SERVER, FAST)
                for rules, receiver, way in RULES:
                    with self.subTest(f"{option} {rules}"), self.configured(*(f"{option} rule add {r}" for r in rules)):
                        self.check(source, far, receiver, way)
                self.check(source, far, SERVER, FAST)

    def test_root_is_the_user_of_forwarded_packets(self):
        option, source, far, routes = next(self.families())
        with self.configured(*routes, f"{option} rule add pref 100 uidrange 0-0 table 100"):
            self.check(source, far, BACKUP, KERNELS)

    def test_table_default(self):
        for option, source, far, routes in self.families():
            in_default = routes[1].replace("table 100", "table default")
            with self.subTest(f"{option} before main"):
                with self.configured(routes[0], in_default, f"{option} rule add pref 100 table default"):
                    self.check(source, far, BACKUP, KERNELS)
            with self.subTest(f"{option} behind main"):
                with self.configured(in_default, f"{option} rule add pref 40000 table default"):
                    self.check(source, far, BACKUP, KERNELS)
                    with self.configured(routes[0]):
                        self.check(source, far, SERVER, FAST)

    def test_way_back_by_a_rule(self):
        """The reverse-path check asks as if the packet came in where it leaves."""
        option, source, far, routes = next(self.families())
        with self.configured(*routes, f"{option} rule add pref 100 iif {WAN.dev} table 100"):
            self.check(source, far, SERVER, FAST)
            self.router.sysctl(**{f"ipv4__conf__{LAN.dev}__rp_filter": 1})
            try:
                self.settle()
                self.check(source, far, SERVER, KERNELS)
            finally:
                self.router.sysctl(**{f"ipv4__conf__{LAN.dev}__rp_filter": 0})

    def test_route_with_a_tos(self):
        option, source, far, routes = next(self.families())
        with self.configured(routes[0], f"{option} route add {FAR4_NET} tos 0x10 via {ALT.host4}"):
            self.check(source, far, BACKUP, KERNELS, tos=0x10)
            self.check(source, far, SERVER, KERNELS)
            with self.configured(f"{option} route add {FAR4}/32 via {WAN.host4}"):
                self.check(source, far, SERVER, FAST, tos=0x10)  # the longer prefix comes first
            if not KERNEL:
                self.assertEqual(self.lab.show("status")["prefixes_by_tos_or_source"], 1)
                self.assertIn("0x10", [row.get("tos") for row in self.lab.show("route")])
        with self.configured(routes[0]):
            self.check(source, far, SERVER, FAST, tos=0x10)

    def test_route_with_a_tos_alone(self):
        option, source, far, _ = next(self.families())
        with self.configured(f"{option} route add {FAR4_NET} tos 0x10 via {ALT.host4}",
                             f"{option} route add default via {WAN.host4}"):
            self.check(source, far, BACKUP, KERNELS, tos=0x10)
            self.check(source, far, SERVER, KERNELS)

    def test_route_with_a_source(self):
        option, source, far, routes = list(self.families())[1]
        special = f"{option} route add {FAR6_NET} from {source}/128 via {ALT.host6}"
        done = self.router.run("ip", *special.split(), check=False)
        if done.returncode:
            self.skipTest("the kernel has no routes by source (CONFIG_IPV6_SUBTREES): " + done.stdout.strip())
        self.router.ip(*special.replace(" add ", " del ").split())
        # The kernel does not fall back to the general route of the same prefix, but to one of a shorter prefix.
        with self.configured(routes[0], f"{option} route add default via {WAN.host6}", special):
            self.check(source, far, BACKUP, KERNELS)
            self.check(OTHER6, far, SERVER, KERNELS)
            with self.configured(f"{option} route add {FAR6}/128 via {WAN.host6}"):
                self.check(source, far, SERVER, FAST)  # the destination comes first
            if not KERNEL:
                self.assertIn(source, [row.get("from", "").partition("/")[0] for row in self.lab.show("route")])
        with self.configured(routes[0]):
            self.check(source, far, SERVER, FAST)
