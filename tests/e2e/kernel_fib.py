# SPDX-License-Identifier: BSD-3-Clause
"""Compares the forwarder's FIB with the kernel's answers to `ip route get`. The questions go by rtnetlink, because one
process for each question would be slow."""

import ipaddress
import json
import os
import socket
import struct

from lab import PATIENCE

RTM_NEWROUTE, RTM_GETROUTE, NLMSG_ERROR = 24, 26, 2
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_VIA, RTA_IP_PROTO, RTA_SPORT, RTA_DPORT = 1, 4, 5, 18, 27, 28, 29
UNICAST, LOCALS, BLACKHOLE = 1, {2, 3, 4, 5}, 6
IP_MTU, IPV6_MTU = 14, 24
NO_ROUTE = {"EHOSTUNREACH", "ENETUNREACH", "EACCES", "EAGAIN"}
TOS, SOURCE6 = "0x10", "2001:db8:5::/64"  # of the routes that depend on more than the destination
FLOWS = (1, 16, 512)  # numbers of flows that are tried on a group, until all members have been seen


def attribute(kind, data):
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


class Kernel:
    """The routes of a namespace."""

    def __init__(self, namespace):
        self.namespace = namespace
        with namespace:
            self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self.socket.bind((0, 0))
        self.socket.settimeout(10 * PATIENCE)
        self.number = 0

    def close(self):
        self.socket.close()

    def get(self, address, flow=0):
        """Returns ("local",), ("no_route",), ("blackhole",) or ("via", ifindex, gateway)."""
        to = ipaddress.ip_address(address)
        family = socket.AF_INET if to.version == 4 else socket.AF_INET6
        self.number += 1
        body = struct.pack("=BBBBBBBBI", family, to.max_prefixlen, 0, 0, 0, 0, 0, 0, 0) + attribute(RTA_DST, to.packed)
        body += attribute(RTA_IP_PROTO, b"\x11") + attribute(RTA_SPORT, struct.pack("!H", 1024 + flow))
        body += attribute(RTA_DPORT, struct.pack("!H", 7))
        self.socket.send(struct.pack("=IHHII", 16 + len(body), RTM_GETROUTE, 1, self.number, 0) + body)
        while True:
            reply = self.socket.recv(65536)
            length, kind, _, number, _ = struct.unpack_from("=IHHII", reply)
            if number == self.number:
                return self.read(kind, reply[16:length], to)

    def mtu(self, address):
        """Returns the MTU of packets to an address. None: no socket can send to it."""
        to = ipaddress.ip_address(address)
        family, level, option = ((socket.AF_INET, socket.IPPROTO_IP, IP_MTU) if to.version == 4 else
                                 (socket.AF_INET6, socket.IPPROTO_IPV6, IPV6_MTU))
        with self.namespace, socket.socket(family, socket.SOCK_DGRAM) as s:
            try:
                s.connect((address, 7))
                return s.getsockopt(level, option)
            except OSError:
                return None

    def read(self, kind, body, to):
        if kind == NLMSG_ERROR:
            name = os.strerror(-struct.unpack_from("=i", body)[0])
            refused = {os.strerror(getattr(__import__("errno"), e)) for e in NO_ROUTE}
            return ("no_route",) if name in refused else ("blackhole",)
        route_type, at, oif, gateway = body[7], 12, 0, to
        while at + 4 <= len(body):
            size, attr = struct.unpack_from("=HH", body, at)
            data = body[at + 4:at + size]
            oif = struct.unpack("=I", data)[0] if attr == RTA_OIF else oif
            gateway = ipaddress.ip_address(data) if attr == RTA_GATEWAY else gateway
            gateway = ipaddress.ip_address(data[2:]) if attr == RTA_VIA else gateway
            at += max(4, (size + 3) & ~3)
        if route_type == UNICAST:
            return ("via", oif, str(gateway))
        return ("local",) if route_type in LOCALS else ("blackhole",) if route_type == BLACKHOLE else ("no_route",)


class Fib:
    """A snapshot of the forwarder's FIB, with the kernel's names of links and its neighbours at that moment."""

    def __init__(self, lab):
        reply = json.loads(lab.halfpoll("show", "fib", "--json", "--limit", 10_000_000, timeout=60 * PATIENCE).stdout)
        self.rows = {row["prefix"]: row for row in reply["fib"]}
        self.lengths = {4: set(), 6: set()}
        for prefix in self.rows:
            self.lengths[6 if ":" in prefix else 4].add(int(prefix.partition("/")[2]))
        links = lab.router.ip_json("link", "show")
        self.names = {link["ifindex"]: link["ifname"] for link in links}
        ports = {net.dev: net.name for net in lab.nets}
        lower = {i: name.partition(".")[0].removesuffix("x") for i, name in self.names.items()}  # of a VLAN: its port
        self.ports = {i: ports[name] for i, name in lower.items() if name in ports}
        special = [*lab.router.ip_json("-4", "route", "show", "table", "main", "tos", TOS),
                   *lab.router.ip_json("-6", "route", "show", "table", "main", "from", SOURCE6)]
        self.special = {route["dst"] + ("" if "/" in route["dst"] else "/128" if ":" in route["dst"] else "/32")
                        for route in special}
        # A port without carrier sends nothing, even to known neighbours.
        carrier = {link["ifname"] for link in links if "LOWER_UP" in link["flags"]}
        self.neighbours = {(n["dst"], n["dev"]): (n["lladdr"], n["state"][0] == "PERMANENT")
                           for n in lab.router.ip_json("neigh", "show") if "lladdr" in n and n["dev"] in carrier}

    def look_up(self, address):
        to = ipaddress.ip_address(address)
        for length in sorted(self.lengths[to.version], reverse=True):
            row = self.rows.get(str(ipaddress.ip_network((to, length), strict=False)))
            if row:
                return row
        return {"kind": "punt", "why": "no_route"}

    def difference(self, kernel, address):
        """Describes how the FIB and the kernel differ for an address; None: they agree."""
        row = self.look_up(address)
        if row.get("prefix") in self.special:
            left = (row["kind"], row.get("why", "").lower()) == ("punt", "kernel")
            return None if left else f"{address}: TOS or source matter, the FIB {row}"
        answer = kernel.get(address)
        if self.same(answer, row):
            mtu = kernel.mtu(address) if row["kind"] == "forward" else None
            return None if mtu is None or mtu == row["mtu"] else f"{address}: the kernel's MTU is {mtu}, the FIB {row}"
        members = {(m["dev"], m.get("lladdr")) for m in row.get("members", [row]) if "dev" in m}
        said = set()
        # The FIB has a single next hop for a group in which only one member takes packets: members with unknown
        # neighbours take none as long as another member can. An answer with an unknown neighbour may be from such a
        # group, so more flows are tried.
        unknown = answer[0] == "via" and self.fate(answer)[1] is None
        flows = FLOWS if "members" in row or unknown else FLOWS[:-1]
        for first, last in zip((0, *flows), flows):
            answers = {kernel.get(address, flow) for flow in range(first, last)}
            said |= {self.fate(a) for a in answers if a[0] == "via"}
            if members and members == ({fate for fate in said if fate[1]} or said):
                return None
        return f"{address}: the kernel says {said or answer}, the FIB {row}"

    def fate(self, answer):
        lladdr = self.neighbours.get((answer[2], self.names.get(answer[1])), (None, False))[0]
        return (self.ports.get(answer[1]), lladdr)

    def same(self, answer, row):
        if answer[0] == "blackhole":
            return row["kind"] == "drop"
        if answer[0] != "via":
            return row["kind"] == "punt" and row["why"].lower() == answer[0]
        port = self.ports.get(answer[1])
        if port is None:
            return row["kind"] == "punt" and row["why"].lower() == "kernel"
        lladdr, permanent = self.neighbours.get((answer[2], self.names.get(answer[1])), (None, False))
        if row["kind"] in ("forward", "group"):
            return row["kind"] == "forward" and (row["dev"], row["lladdr"]) == (port, lladdr)
        return row["kind"] == "punt" and row["why"].lower() == "resolve" and row.get("dev") == port and not permanent
