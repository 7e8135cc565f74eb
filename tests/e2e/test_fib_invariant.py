# SPDX-License-Identifier: BSD-3-Clause
"""FIB == kernel: after every kind of event that changes routes, with or without a netlink message, the forwarder holds
what the kernel answers to `ip route get`. HALFPOLL_FIB_SECONDS: duration; HALFPOLL_FIB_ROUTES: number of routes;
HALFPOLL_FIB_SEED: selects the events. The default is the short form, with every kind of event at least once."""

import os
import random
import signal
import subprocess
import time
import unittest

from kernel_fib import SOURCE6, TOS, Fib, Kernel
from lab import KERNEL, NETWORKS, PATIENCE, Lab, Namespace, wait_for

WAN, ALT = NETWORKS["wan"], NETWORKS["alt"]
SECONDS = float(os.environ.get("HALFPOLL_FIB_SECONDS", 30))
ROUTES = int(os.environ.get("HALFPOLL_FIB_ROUTES", 2000))
SEED = int(os.environ.get("HALFPOLL_FIB_SEED", random.SystemRandom().randrange(1 << 32)))
SAMPLES = 300
SETTLE_SECONDS = 60
OVERRUN_MESSAGES = 150_000  # more than the mirror's receive buffer holds
SOURCE = "10.88.0.1"
GATEWAYS = {4: [(f"10.77.{n}.{h}", dev) for n, dev in ((2, "wan0"), (3, "alt0")) for h in (50, 51)],
            6: [(f"fd77:{n}::{h}", dev) for n, dev in ((2, "wan0"), (3, "alt0")) for h in (50, 51)]}


def lladdr(gateway):
    """Returns a link address that differs for every gateway."""
    last = gateway.replace("::", ":").replace(":", ".").split(".")
    return f"02:88:{6 if ':' in gateway else 4:02x}:00:{int(last[-2]):02x}:{int(last[-1]):02x}"


class Events:
    """Changes of the router's configuration, one in each method. stand() restores what they need."""

    def __init__(self, lab, rng):
        self.lab, self.router, self.random = lab, lab.router, rng
        self.elsewhere = lab.namespaces["elsewhere"] = Namespace(f"{lab.number}-elsewhere")
        self.prefixes = [(f"11.{i >> 8 & 255}.{i & 255}.0/24", 4) if i % 3 else (f"2001:db8:{i:x}::/48", 6)
                         for i in range(min(ROUTES, 65_000))]
        self.names = {"wan0": "wan0", "alt0": "alt0"}
        self.undo = []  # undoes the last event, for stand()
        self.lacks = [kind for kind in ("vlan", "vrf", "bridge") if not self.kernel_has(kind)]
        self.kinds = [event for event in self.ALL if event.__name__ not in self.lacks]

    def kernel_has(self, kind):
        """True if the kernel can make such an interface."""
        more = {"vlan": ("link", "wan0", "id", 4000), "vrf": ("table", 4000)}.get(kind, ())
        link, options = (more[:2], more[2:]) if kind == "vlan" else ((), more)
        done = self.router.run("ip", "link", "add", *link, "name", "probe0", "type", kind, *options, check=False)
        self.router.run("ip", "link", "del", "probe0", check=False)
        return done.returncode == 0

    def batch(self, lines, check=False):
        done = subprocess.run(self.router.command("ip", "-force", "-batch", "-"), input="\n".join(lines) + "\n", text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60 * PATIENCE, check=False)
        if done.returncode == 255 or (check and done.returncode):  # 255: ip does not understand a line, and stops
            raise AssertionError(done.stdout[-2000:])

    # The configuration that the events change.

    def neighbours(self, dev):
        return [f"neigh replace {gw} lladdr {lladdr(gw)} dev {self.names[d]} nud permanent"
                for family in (4, 6) for gw, d in GATEWAYS[family] if d == dev]

    def addresses(self, dev):
        net = {"wan0": WAN, "alt0": ALT}[dev]
        return [f"addr replace {net.router4}/24 dev {self.names[dev]}",
                f"addr replace {net.router6}/64 dev {self.names[dev]} nodad"]

    def objects(self):
        lines = []
        for family, base in ((4, 100), (6, 200)):
            for i, (gw, dev) in enumerate(GATEWAYS[family]):
                lines.append(f"nexthop replace id {base + i} via {gw} dev {self.names[dev]}")
            lines.append(f"nexthop replace id {base + 10} group {base}/{base + 2},2")
            lines.append(f"nexthop replace id {base + 11} group {base + 1}")
        return lines

    def hop(self, family):
        gw, dev = self.random.choice(GATEWAYS[family])
        return f"via {gw} dev {self.names[dev]}"

    def route(self, prefix, family):
        kind = self.random.randrange(16)
        base = {4: 100, 6: 200}[family]
        if kind < 8:
            target = self.hop(family)
        elif kind < 10:
            target = f"nexthop {self.hop(family)} weight 2 nexthop {self.hop(family)}"
        elif kind < 13:
            target = f"nhid {base + self.random.choice((0, 2, 10, 11))}"
        elif kind == 13 and family == 4:
            target = f"{self.hop(4)} src {SOURCE}"
        else:
            return f"route replace {self.random.choice(('blackhole', 'unreachable', 'prohibit'))} {prefix}"
        metric = self.random.choice(("", "", "", " metric 3000"))
        return f"route replace {prefix}{metric} proto {self.random.choice((70, 71, 72))} {target}"

    def routes(self, count):
        return [self.route(*p) for p in self.random.sample(self.prefixes, min(count, len(self.prefixes)))]

    def wide(self):
        """Returns wide routes, which take over when a route goes."""
        return [f"route replace 11.0.0.0/9 {self.hop(4)}", f"route replace 2001:db8::/33 {self.hop(6)}"]

    def stand(self, count):
        while self.undo:
            self.undo.pop()()
        lines = [f"addr replace {SOURCE}/32 dev lo"]
        for dev in self.names:
            lines += [f"link set {self.names[dev]} up", *self.addresses(dev), *self.neighbours(dev)]
        self.batch(lines + self.objects() + self.routes(count) + self.wide())

    # The events.

    def some_port(self):
        return self.random.choice(list(self.names))

    def link_down(self):
        self.batch([f"link set {self.names[self.some_port()]} down"])

    def link_down_up(self):
        name = self.names[self.some_port()]
        self.batch([f"link set {name} down", f"link set {name} up"] * self.random.randrange(1, 6))

    def address_of_routes(self):
        self.batch([f"addr del {SOURCE}/32 dev lo"])

    def last_addresses(self):
        name = self.names[self.some_port()]
        for family in self.random.sample((4, 6), self.random.choice((1, 2))):
            self.router.ip(f"-{family}", "addr", "flush", "dev", name, "scope", "global")

    def last_address_back(self):
        dev = self.some_port()
        self.router.ip("-4", "addr", "flush", "dev", self.names[dev])
        self.batch(self.addresses(dev))

    def object_replaced(self):
        self.batch([f"nexthop replace id {base + self.random.randrange(4)} {self.hop(family)}"
                    for family, base in ((4, 100), (6, 200))])

    def object_deleted(self):
        self.batch([f"nexthop del id {self.random.choice((100, 102, 110, 111, 200, 202, 210, 211))}"])

    def carrier(self):
        net = self.random.choice((WAN, ALT))
        self.lab.host_down(net)
        name = self.names[net.dev]
        wait_for(f"{name} has no carrier", lambda: not self.lab.carrier(name))
        self.lab.host_up(net)
        wait_for(f"{name} has its carrier", lambda: self.lab.carrier(name))

    def carrier_ignored(self):
        """Sets ignore_routes_with_linkdown of the interface, or for IPv4 of all interfaces, before or after the carrier
        goes. Routes give way to another metric, to another of their next hops, or to a shorter prefix."""
        net = self.random.choice((WAN, ALT))
        name = self.names[net.dev]
        one = [f"{family}__conf__{name}__ignore_routes_with_linkdown" for family in ("ipv4", "ipv6")]
        keys = self.random.choice((one, one[:1], one[1:], ["ipv4__conf__all__ignore_routes_with_linkdown", one[1]]))
        changes = [lambda: self.router.sysctl(**{key: 1 for key in keys}), lambda: self.unplugged(net)]
        self.random.shuffle(changes)
        changes[0]()
        if self.random.randrange(2):
            self.settle()
        changes[1]()

    def unplugged(self, net):
        """Pulls the cable until the next stand()."""
        name = self.names[net.dev]
        self.lab.host_down(net)
        self.undo.append(lambda: self.plugged(net))
        wait_for(f"{name} has no carrier", lambda: not self.lab.carrier(name))

    def plugged(self, net):
        name = self.names[net.dev]
        self.lab.host_up(net)
        wait_for(f"{name} has its carrier", lambda: self.lab.carrier(name))
        if self.random.randrange(2):
            for family in ("ipv4", "ipv6"):
                self.router.sysctl(**{f"{family}__conf__{name}__ignore_routes_with_linkdown": 0})
            self.router.sysctl(ipv4__conf__all__ignore_routes_with_linkdown=0)

    def mtu(self):
        """Changes the MTU of the link, which sets IPv6's MTU; or IPv6's own MTU, about which the kernel sends no
        message."""
        name = self.names[self.some_port()]
        self.router.ip("link", "set", name, "mtu", self.random.choice((1280, 1400, 1500)))
        self.undo.append(lambda: self.router.ip("link", "set", name, "mtu", 1500))
        if self.random.randrange(3):
            self.router.sysctl(**{f"ipv6__conf__{name}__mtu": 1280})

    def vlan(self):
        """Makes a VLAN on a port, with routes over it, and then changes the VLAN or the port."""
        lower = self.names[self.some_port()]
        name = f"{lower}.5"
        for where in (self.router, self.elsewhere):
            self.undo.append(lambda n=where: n.run("ip", "link", "del", name, check=False))
        hops = {4: f"10.89.5.{self.random.randrange(2, 9)}", 6: f"fd89:5::{self.random.randrange(2, 9)}"}
        self.batch([f"link add link {lower} name {name} type vlan id 5", f"link set {name} up",
                    f"addr add 10.89.5.1/24 dev {name}", f"addr add fd89:5::1/64 dev {name} nodad",
                    *(f"neigh replace {hop} lladdr {lladdr(hop)} dev {name} nud permanent" for hop in hops.values())],
                   check=True)
        self.batch([f"route replace {prefix} via {hops[family]} dev {name}"
                    for prefix, family in self.random.sample(self.prefixes, min(400, ROUTES // 4))])
        if self.random.randrange(2):
            self.settle()
        self.random.choice((
            lambda: None,
            lambda: self.batch([f"link set {name} down"]),
            lambda: self.batch([f"link set {lower} down"]),
            lambda: self.batch([f"link set {lower} down", f"link set {lower} up"]),
            lambda: self.batch([f"link del {name}"]),
            lambda: self.batch([f"link set {name} netns {self.elsewhere.name}"]),
            lambda: self.unplugged(NETWORKS[lower.removesuffix("x").removesuffix("0")]),
            lambda: self.router.sysctl(**{f"ipv6__conf__{name}__mtu": 1300})))()

    def vrf(self):
        """A port belongs to a VRF for a while: its routes leave the main table."""
        name = self.names[self.some_port()]
        self.undo.append(lambda: self.router.run("ip", "link", "del", "vrf0", check=False))
        self.batch(["link add vrf0 type vrf table 88", "link set vrf0 up", f"link set {name} master vrf0"], check=True)
        if self.random.randrange(2):
            self.settle()
        self.random.choice((lambda: None, lambda: self.batch([f"link set {name} nomaster"]),
                            lambda: self.batch(["link del vrf0"])))()

    def rename(self):
        dev = self.some_port()
        before = self.names[dev]
        self.names[dev] = dev if before != dev else dev + "x"
        self.batch([f"link set {before} down", f"link set {before} name {self.names[dev]}",
                    f"link set {self.names[dev]} up"], check=True)

    def moved(self):
        """An interface that is not a port moves to another namespace, and returns or is deleted there."""
        self.batch(["link add side0 type veth peer name side1", "link add link side0 name side0.5 type vlan id 5",
                    "link set side0 up", "link set side1 up", "link set side0.5 up",
                    "addr add 10.89.0.1/24 dev side0", "addr add 10.89.5.1/24 dev side0.5"])
        self.batch([f"route replace {p} via 10.89.0.2 dev side0" for p, family in self.random.sample(self.prefixes, 40)
                    if family == 4])
        self.settle()
        self.batch([f"link set side0 netns {self.elsewhere.name}"])
        if self.random.randrange(2):
            self.settle()
            self.elsewhere.ip("link", "set", "side0", "netns", self.router.name)
        self.batch(["link del side1", "link del side0.5"])

    def flushed(self):
        self.router.ip(f"-{self.random.choice((4, 6))}", "route", "flush", "proto", self.random.choice((70, 71, 72)),
                       check=False)  # some routes may be gone

    def churn(self):
        lines = self.routes(500)
        self.batch(lines + [line.replace("replace", "del") for line in self.random.sample(lines, 200)])

    def special(self):
        """Routes with a TOS or a source come and go beside the general ones, or alone."""
        lines = []
        for prefix, family in self.random.sample(self.prefixes, min(200, ROUTES // 4)):
            selector = f"tos {TOS}" if family == 4 else f"from {SOURCE6}"
            lines.append(f"route replace {prefix} {selector} proto {self.random.choice((70, 71, 72))} {self.hop(family)}")
            if self.random.randrange(4) == 0:
                lines.append(f"route del {prefix} {'tos 0' if family == 4 else 'from ::/0'}")
        self.batch(lines)
        self.settle()
        self.batch([line.replace("replace", "del") for line in self.random.sample(lines, len(lines) // 2)
                    if "replace" in line])
        self.random.choice((lambda: None, self.link_down, self.flushed, self.object_deleted, self.churn))()

    def overrun(self):
        before = self.status()["netlink_resyncs"]
        self.lab.process.send_signal(signal.SIGSTOP)
        try:
            lines = []
            while len(lines) < OVERRUN_MESSAGES:
                lines += self.routes(5000)
            self.batch(lines + [f"link set {self.names[self.some_port()]} down"])
        finally:
            self.lab.process.send_signal(signal.SIGCONT)
        wait_for("messages were lost, and made good", lambda: self.status()["netlink_resyncs"] > before, SETTLE_SECONDS)

    def silent_ipv6(self):
        name = self.names[self.some_port()]
        self.router.sysctl(ipv6__route__skip_notify_on_dev_down=1)
        if self.random.randrange(2):
            self.batch([f"link set {name} down"])
        else:
            self.off_and_on(name)
        self.settle()
        self.router.sysctl(ipv6__route__skip_notify_on_dev_down=0)

    def ipv6_off_and_on(self):
        self.off_and_on(self.names[self.some_port()])

    def off_and_on(self, name):
        self.router.sysctl(**{f"ipv6__conf__{name}__disable_ipv6": 1})
        self.settle()
        self.router.sysctl(**{f"ipv6__conf__{name}__disable_ipv6": 0})

    def silent_objects(self):
        self.router.sysctl(ipv4__nexthop_compat_mode=0)
        self.object_deleted()
        self.link_down()
        self.settle()
        self.router.sysctl(ipv4__nexthop_compat_mode=1)

    def bridge(self):
        """A port belongs to a bridge for a while."""
        name = self.names[self.some_port()]
        self.batch(["link add bridge0 type bridge", f"link set {name} master bridge0"])
        self.settle()
        self.batch(["link del bridge0"])

    # Observation.

    def status(self):
        return self.lab.show("status")

    def settle(self):
        wait_for("the mirror has applied all that the kernel said", lambda: self.status()["netlink_settled"],
                 SETTLE_SECONDS)

    ALL = (link_down, link_down_up, address_of_routes, last_addresses, last_address_back, object_replaced, object_deleted,
           carrier, carrier_ignored, mtu, vlan, vrf, rename, moved, flushed, churn, special, overrun, silent_ipv6, ipv6_off_and_on,
           silent_objects, bridge)


@unittest.skipIf(KERNEL, "about halfpoll")
class FibInvariant(unittest.TestCase):
    def setUp(self):
        signal.alarm(4 * int(SECONDS) + 600)  # every kind of event occurs once, even on a slow machine
        self.lab = Lab()
        self.addCleanup(self.lab.stop)
        self.lab.router.sysctl(ipv4__fib_multipath_hash_policy=1, ipv6__fib_multipath_hash_policy=1)
        self.random = random.Random(SEED)
        self.events = Events(self.lab, self.random)
        self.kernel = Kernel(self.lab.router)
        self.addCleanup(self.kernel.close)

    def samples(self):
        chosen = self.random.sample(self.events.prefixes, min(SAMPLES, len(self.events.prefixes)))
        addresses = [prefix.replace("0/24", f"{self.random.randrange(1, 250)}") if family == 4 else
                     prefix.replace("/48", f"{self.random.randrange(1, 9)}") for prefix, family in chosen]
        fixed = [a for n in (WAN, ALT) for a in (n.router4, n.router6)] + ["11.127.1.1", "11.200.1.1", "2001:db8:7fff::1",
                                                                           "2001:db8:ffff::1", SOURCE, "10.89.0.2"]
        return addresses + [gw for family in (4, 6) for gw, _ in GATEWAYS[family]] + fixed

    def compare(self, after):
        """Compares samples of the FIB with the kernel, repeatedly: the kernel itself may still be at work (IPv6
        addresses). A difference that remains when both are at rest is a failure."""
        left = self.samples()
        for attempt in range(40):
            self.events.settle()
            fib = Fib(self.lab)
            told = {a: d for a in left if (d := fib.difference(self.kernel, a))}
            left = list(told)
            if not left:
                return
            time.sleep(0.05 * min(attempt, 10))
        self.fail(f"seed {SEED}, after {' '.join(after[-6:])}: {len(left)} of {SAMPLES} differ\n" +
                  "\n".join(list(told.values())[:20]))

    def test_random_events(self):
        print(f"HALFPOLL_FIB_SEED={SEED} HALFPOLL_FIB_ROUTES={ROUTES}; Linux {os.uname().release}, which lacks: "
              f"{', '.join(self.events.lacks) or 'nothing'}", flush=True)
        self.events.stand(ROUTES)
        self.compare(["start"])
        end = time.monotonic() + SECONDS
        once = list(self.events.kinds)
        self.random.shuffle(once)
        happened = []
        while once or time.monotonic() < end:
            event = once.pop() if once else self.random.choice(self.events.kinds)
            happened.append(event.__name__)
            event(self.events)
            self.compare(happened)
            self.events.stand(self.random.choice((200, ROUTES // 4)))
            happened.append("stand")
            self.compare(happened)
        print(f"{len(happened)} events of {len(self.events.kinds) + 1} kinds, 0 differences", flush=True)
        self.lab.signal(signal.SIGTERM, SETTLE_SECONDS)  # takes long: it removes many prefixes from the FIB
