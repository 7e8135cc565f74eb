# SPDX-License-Identifier: BSD-3-Clause
"""Checks that the forwarder holds exactly what `ip` shows, by an independent reading of routes, neighbours and
links."""

import ipaddress
import json

LOCAL = {"local", "broadcast", "anycast", "multicast"}
REFUSING = {"unreachable", "prohibit", "throw"}
FIXED = {"224.0.0.0/4": ("punt", "control"), "ff00::/8": ("punt", "control"), "fe80::/10": ("punt", "local")}
VALID = {"PERMANENT", "NOARP", "REACHABLE", "STALE", "DELAY", "PROBE"}


def differences(lab):
    """Returns one line for each prefix that is missing, different or superfluous in the forwarder."""
    wanted, found = Expectation(lab).fib(), actual(lab)
    return [f"{prefix}: {found.get(prefix)}, expected {wanted.get(prefix)}"
            for prefix in sorted(wanted.keys() | found.keys()) if wanted.get(prefix) != found.get(prefix)]


def actual(lab):
    reply = json.loads(lab.halfpoll("show", "fib", "--json", "--limit", 1_000_000).stdout)
    rows = reply["fib"] if isinstance(reply, dict) else reply
    return {row["prefix"]: fate(row) for row in rows}


def fate(row):
    if row["kind"] == "group":
        return ("group", frozenset(fate(m) for m in row["members"]))
    return (row["kind"], row["dev"], row["lladdr"]) if row["kind"] == "forward" else (row["kind"], row["why"].lower())


def network(text, bits):
    if text == "default":
        text = "0.0.0.0/0" if bits == 32 else "::/0"
    return ipaddress.ip_network(text)


def special(route):
    """True if more than the destination decides: the kernel then forwards to the prefix."""
    return "tos" in route or "from" in route


class Expectation:
    def __init__(self, lab):
        router = lab.router
        self.ports = {net.dev: net.name for net in lab.nets}
        self.usable = {link["ifname"]: {"UP", "LOWER_UP"} <= set(link["flags"]) for link in router.ip_json("link", "show")}
        self.neighbours = {(n["dst"], n["dev"]): n["lladdr"] for n in router.ip_json("neigh", "show")
                           if n["state"][0] in VALID and "lladdr" in n}
        self.routes = {}
        for option, bits in (("-4", 32), ("-6", 128)):
            for r in router.ip_json(option, "-d", "route", "show", "table", "all"):
                if r.get("table", "main") in ("main", "local"):
                    self.routes.setdefault(network(r["dst"], bits), []).append(r)
        for routes in self.routes.values():
            routes.sort(key=lambda r: (special(r), r.get("table", "main") == "main", r.get("metric", 0)))

    def fib(self):
        fixed = [ipaddress.ip_network(p) for p in FIXED]
        fixed_net = lambda net: any(net.version == f.version and net.subnet_of(f) for f in fixed)
        all_ = {str(net): self.of_routes(net, routes) for net, routes in self.routes.items() if not fixed_net(net)}
        for (address, dev), _ in self.neighbours.items():
            host = ipaddress.ip_network(address)
            if not fixed_net(host) and host not in self.routes and self.on_link(host, dev):
                all_[str(host)] = self.over(dev, address)
        return {**all_, **FIXED}

    def of_routes(self, net, routes):
        route = routes[0]
        kind = route.get("type", "unicast")
        if kind in LOCAL:
            return ("punt", "local")
        if special(routes[-1]):
            return ("punt", "kernel")
        if kind in REFUSING:
            return ("punt", "no_route")
        if kind == "blackhole":
            return ("drop", "blackhole")
        fates = []
        for hop in route.get("nexthops", [route]):
            gateway = hop.get("gateway") or hop.get("via", {}).get("host")
            if not gateway and net.prefixlen == net.max_prefixlen:
                gateway = str(net.network_address)
            fates.append(self.over(hop.get("dev"), gateway))
        active = frozenset(f for f in fates if f != ("punt", "resolve"))
        return fates[0] if not active else next(iter(active)) if len(active) == 1 else ("group", active)

    def over(self, dev, gateway):
        if dev not in self.ports:
            return ("punt", "kernel")
        lladdr = self.neighbours.get((gateway, dev))
        if not lladdr or not self.usable[dev]:
            return ("punt", "resolve")
        return ("forward", self.ports[dev], lladdr)

    def on_link(self, host, dev):
        """True if the kernel would send to the host directly on `dev`."""
        for length in range(host.prefixlen, -1, -1):
            routes = self.routes.get(host.supernet(new_prefix=length))
            if routes:
                route = routes[0]
                return (not special(routes[-1]) and route.get("type", "unicast") == "unicast" and route.get("dev") == dev and "gateway" not in route
                        and "via" not in route)
        return False
