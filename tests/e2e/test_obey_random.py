# SPDX-License-Identifier: BSD-3-Clause
"""The kernel and halfpoll, configured alike at random, do the same with the same random packets: the same frames come
out of the same ports. HALFPOLL_OBEY_CONFIGS: number of configurations (the long form: 2000); HALFPOLL_OBEY_SEED draws
others, HALFPOLL_OBEY_ONLY takes one of them."""

import collections
import contextlib
import ipaddress
import os
import random
import signal
import time
import unittest

from scapy.layers.l2 import Ether

import obey_grammar
from lab import KERNEL, PATIENCE, Lab, run, wait_for

CONFIGS = int(os.environ.get("HALFPOLL_OBEY_CONFIGS", 50))
ONLY = int(os.environ.get("HALFPOLL_OBEY_ONLY", -1))
SEED = int(os.environ.get("HALFPOLL_OBEY_SEED", 2026))
PACKETS = 40  # of each port
# Configurations for which a pair of routers serves. In every other one, packets left to the kernel pass inside it.
RENEW = 25
QUIET = 0.15  # seconds without a frame, after which the kernel's router has finished
READ_EACH_SECOND = ("disable_ipv6", "accept_local", "route_localnet")
READING = 3  # seconds
ROUTER_ADDRESSES = [ipaddress.ip_address(net.router4).packed for net in obey_grammar.PORTS]
SETTINGS = {
    "ipv4__ip_forward": 1,
    "ipv6__conf__all__forwarding": 1,
    "ipv4__ip_default_ttl": 64,
    "ipv4__conf__all__send_redirects": 0,  # how many the kernel sends to a host depends on milliseconds
    **{
        f"ipv4__conf__{net.dev}__{key}": value
        for net in obey_grammar.PORTS
        for key, value in (
            ("forwarding", 1),
            ("rp_filter", 0),
            ("accept_local", 0),
            ("route_localnet", 0),
            ("send_redirects", 0),
        )
    },
    **{
        f"ipv4__neigh__{net.dev}__{key}": value
        for net in obey_grammar.PORTS
        for key, value in (("mcast_solicit", 1), ("retrans_time_ms", 50))
    },
    **{
        f"ipv6__neigh__{net.dev}__{key}": value
        for net in obey_grammar.PORTS
        for key, value in (("mcast_solicit", 1), ("retrans_time_ms", 50))
    },
    **{f"ipv6__conf__{net.dev}__disable_ipv6": 0 for net in obey_grammar.PORTS},
}


class Side:
    """One of the two routers, with a socket at the other end of each port."""

    def __init__(self, kernel, kernel_pass=False):
        setting = f"\n[forward]\nkernel_pass = {str(kernel_pass).lower()}\n"
        self.lab = Lab(kernel=kernel, configure=False, config=setting)
        self.router = self.lab.router
        self.router.sysctl(ipv6__icmp__ratemask=200)  # no type of ICMPv6: a burst may bring more than 50 errors
        self.hosts = {}
        for net in self.lab.nets:
            host = self.lab.namespaces[{"lan": "client", "wan": "server", "alt": "backup"}[net.name]]
            host.sysctl(ipv6__conf__all__disable_ipv6=1)
            host.ip("addr", "flush", "dev", "eth0")
            host.ip("link", "set", "eth0", "arp", "off")
            self.hosts[net] = host.packets(timeout=0)
            there = net.dev if kernel else net.port
            self.router.run("ethtool", "-K", there, "tx", "off")  # the kernel's own packets then have checksums
            self.router.ip("link", "set", net.dev, "up")
            wait_for("carrier", lambda n=net: self.lab.carrier(n.dev))

    def batch(self, lines):
        file = self.lab.folder / "batch"
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self.router.ip("-force", "-batch", file, check=False)

    def reset(self):
        """The state that every configuration begins with."""
        self.router.run("nft", "flush", "ruleset")
        for net in self.lab.nets:
            self.router.run("tc", "qdisc", "del", "dev", net.dev, "clsact", check=False)
        self.router.sysctl(**SETTINGS)
        lines = ["xfrm policy flush"]
        for family in (4, 6):
            lines += [f"-{family} rule flush", f"-{family} rule add pref 32766 lookup main"]
            lines += [f"-{family} rule add pref 32767 lookup default"] if family == 4 else []
            lines += [f"-{family} rule add pref 0 lookup local"]
            for table in ("main", "100", "default"):
                lines += [f"-{family} route flush table {table}"]
        for net in self.lab.nets:
            lines += [
                f"addr flush dev {net.dev}",
                f"addr add {net.router4}/24 dev {net.dev}",
                f"addr add {net.router6}/64 dev {net.dev} nodad",
                f"neigh flush dev {net.dev}",
            ]
            for family in (4, 6):
                lines.append(
                    f"neigh replace {obey_grammar.host(net, family)} lladdr {net.host_mac} dev {net.dev} nud permanent"
                )
        self.batch(lines)

    def configure(self, commands):
        for tool, *what in commands:
            if tool == "ip":
                self.router.ip(*what[0].split(), check=False)
            elif tool == "sysctl":
                self.router.sysctl(**{what[0]: what[1]})
            else:
                self.router.run(*([tool, what[0]] if tool == "nft" else [tool, *what[0].split()]), check=False)

    def settle(self, commands):
        """Waits until the router has followed. Some settings it reads once a second: nothing reports them."""
        if not self.lab.kernel:
            if any(tool == "sysctl" and what[0].endswith(READ_EACH_SECOND) for tool, *what in commands):
                time.sleep(READING)
            wait_for("the router has followed", lambda: self.lab.show("status")["netlink_settled"])

    def drain(self):
        for socket in self.hosts.values():
            with contextlib.suppress(BlockingIOError):
                while socket.recv(4096):
                    pass

    def send(self, frames):
        for net, frame in frames:
            self.hosts[net].send(frame)

    def receive(self, into):
        """Adds the frames that have arrived to `into`, by port. Returns how many."""
        count = 0
        for net, socket in self.hosts.items():
            with contextlib.suppress(BlockingIOError):
                while True:
                    frame, address = socket.recvfrom(4096)
                    if address[2] != 4:  # PACKET_OUTGOING: sent here
                        count += 1
                        into[net.name, normal(frame)] += 1
        return count


def normal(frame):
    """A frame without what differs between two kernels by chance: identification and checksum of their own packets."""
    if frame[12:14] != b"\x08\x00" or not (frame[26:30] in ROUTER_ADDRESSES or frame[26] == 127):
        return bytes(frame)
    frame = bytearray(frame)
    frame[18:20] = frame[24:26] = b"\0\0"
    return bytes(frame)


def matters(frame):
    """Not a question of a router about its neighbours, or its multicast memberships: when these come is chance. Nor an
    error about a neighbour that does not answer, since the kernel drops some of the packets that wait for it without
    one, or an IPv4 error about a route, of which the kernel sends a host one in a second (route.error_cost)."""
    kind = frame[12:14]
    if (kind == b"\x08\x00" and frame[23] == 1 and frame[34] == 3 and frame[35] in (0, 1, 13)) or (
        kind == b"\x86\xdd" and frame[20] == 58 and frame[54:56] == b"\x01\x03"
    ):
        return False
    return not (kind == b"\x08\x06" or (kind == b"\x86\xdd" and frame[20] in (0, 58) and frame[0] == 0x33))


def only_relevant(frames):
    return collections.Counter({key: n for key, n in frames.items() if matters(key[1])})


def text_of(frames):
    return "\n".join(
        f"  {n} x {port}: {Ether(frame).summary()} {frame.hex()[:160]}" for (port, frame), n in sorted(frames.items())
    )


@unittest.skipIf(KERNEL, "compares both")
class Obey(unittest.TestCase):
    sides = None

    def renew(self, kernel_pass):
        self.close()
        self.sides = [Side(True), Side(False, kernel_pass)]

    def close(self):
        for side in self.sides or ():
            side.lab.stop()
        self.sides = None

    def tearDown(self):
        self.close()

    def test_random_configurations(self):
        signal.alarm(20 * CONFIGS + 600)  # replaces main.py's limit
        r = random.Random(SEED)
        for number in range(CONFIGS):
            if number % RENEW == 0:
                self.renew(kernel_pass=number // RENEW % 2 == 0)
            commands = obey_grammar.configuration(r)
            frames = [
                (net, bytes(obey_grammar.packet(r, net, number * 1000 + i)))
                for i in range(PACKETS)
                for net in obey_grammar.PORTS
            ]
            frames = [(net, frame) for net, frame in frames if len(frame) <= 1514]
            if ONLY not in (-1, number):
                continue
            with self.subTest(seed=SEED, number=number):
                self.compare(commands, frames)

    def compare(self, commands, frames):
        for side in self.sides:
            side.reset()
            side.configure(commands)
        for side in self.sides:
            side.settle(commands)
            side.drain()
        kernel, halfpoll = self.sides
        wanted, found = collections.Counter(), collections.Counter()
        for side in self.sides:
            side.send(frames)
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < QUIET:
            time.sleep(0.01)
            if kernel.receive(wanted):
                quiet_since = time.monotonic()
            halfpoll.receive(found)
        end = time.monotonic() + PATIENCE
        while True:
            halfpoll.receive(found)
            kernel.receive(wanted)
            left, right = only_relevant(wanted), only_relevant(found)
            if left == right:
                break
            if time.monotonic() > end:
                self.fail(
                    "configuration:\n  "
                    + "\n  ".join(" ".join(map(str, c)) for c in commands)
                    + f"\nonly the kernel:\n{text_of(left - right)}\nonly halfpoll:\n{text_of(right - left)}"
                )
            time.sleep(0.02)


if __name__ == "__main__":
    unittest.main()
