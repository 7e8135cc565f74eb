# SPDX-License-Identifier: BSD-3-Clause
"""Hosts leave checksums to the device, as they do by default, and send tunnelled packets or packets with extension
headers. The packets arrive correct at the other end."""

import contextlib
import functools
import socket
import struct
import unittest

from scapy.layers.inet import GRE, IP, TCP, UDP, Ether
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop, IPv6ExtHdrSegmentRouting, PadN
from scapy.layers.l2 import Dot1Q
from scapy.layers.vxlan import VXLAN

from lab import FAR6, FAR6_NET, KERNEL, NETWORKS, Lab
from traffic import capture, ping, transfer, udp_echo

LAN, WAN = NETWORKS["lan"], NETWORKS["wan"]
BYTES = 300_000
NEAR4, THERE4, NEAR6, THERE6 = "192.0.2.1", "192.0.2.2", "fd00:5::1", "fd00:5::2"


def echo(host, far, address, sizes=(0, 1, 100, 1001, 1200)):
    """Checks that datagrams of these sizes come back from `far`."""
    with udp_echo(far, address), host.udp("::" if ":" in address else "0.0.0.0") as s:
        for size in sizes:
            s.sendto(bytes(size), (address, 7000))
            assert len(s.recv(65536)) == size


def talk(host, far, near_address, far_address):
    """Checks TCP in both directions, and UDP."""
    ping(host, far_address)
    transfer(host, far, far_address, BYTES)
    transfer(far, host, near_address, BYTES)
    echo(host, far, far_address)


class Tunnels(unittest.TestCase):
    """Tunnel devices of the kernel, between two hosts and at the router."""

    @classmethod
    def setUpClass(cls):
        cls.lab = Lab(("lan", "wan"))
        cls.client, cls.server, cls.router = cls.lab.client, cls.lab.server, cls.lab.router
        cls.router.ip("-6", "route", "add", FAR6_NET, "via", WAN.host6)

    @classmethod
    def tearDownClass(cls):
        cls.lab.stop()

    @contextlib.contextmanager
    def tunnel(self, near, far, kind, options="", outer=4):
        """Makes a tunnel between two ends, each (host, its outer IPv4 address, its outer IPv6 address, its device)."""
        ends = [(near[0], near[outer // 3], far[outer // 3], near[-1], NEAR4, NEAR6),
                (far[0], far[outer // 3], near[outer // 3], far[-1], THERE4, THERE6)]
        with contextlib.ExitStack() as undo:
            for host, local, remote, dev, address4, address6 in ends:
                done = host.run("ip", "link", "add", "t0", "type", *kind.split(), "local", local, "remote", remote,
                                *options.format(dev=dev).split(), check=False)
                if "Unknown device type" in done.stdout or "not supported" in done.stdout:
                    self.skipTest(f"this kernel has no {kind}: {done.stdout.strip()}")
                self.assertEqual(done.returncode, 0, done.stdout)
                undo.callback(host.ip, "link", "del", "t0")
                host.ip("addr", "add", address4 + "/24", "dev", "t0")
                host.ip("addr", "add", address6 + "/64", "dev", "t0", "nodad")
                host.ip("link", "set", "t0", "up", "mtu", "1400")
            yield

    def hosts(self):
        return (self.client, LAN.host4, LAN.host6, "eth0"), (self.server, WAN.host4, WAN.host6, "eth0")

    def between_hosts(self, kind, options="", outer=4, inner=(4, 6)):
        with self.tunnel(*self.hosts(), kind, options, outer):
            for version in inner:
                talk(self.client, self.server, *((NEAR4, THERE4) if version == 4 else (NEAR6, THERE6)))

    def to_router(self, options, outer):
        ends = (self.hosts()[0], (self.router, LAN.router4, LAN.router6, LAN.dev))
        with self.tunnel(*ends, "vxlan id 7", options, outer):
            talk(self.client, self.router, NEAR4, THERE4)
            talk(self.client, self.router, NEAR6, THERE6)

    def test_vxlan(self):
        self.between_hosts("vxlan id 7", "dev {dev} dstport 4789 udpcsum")

    def test_vxlan_without_outer_checksum(self):
        self.between_hosts("vxlan id 7", "dev {dev} dstport 8472 noudpcsum")

    def test_vxlan_with_group_policy_on_a_port_of_its_own(self):
        self.between_hosts("vxlan id 7", "dev {dev} dstport 31337 gbp")

    def test_vxlan_with_remote_checksum_offload(self):
        """Inner checksums stay unfinished all the way. TCP over this tunnel is slow with the kernel as the router,
        too."""
        with self.tunnel(*self.hosts(), "vxlan id 7", "dev {dev} dstport 4789 udpcsum remcsumtx remcsumrx"):
            echo(self.client, self.server, THERE4)
            echo(self.client, self.server, THERE6)

    def test_vxlan_over_ipv6(self):
        self.between_hosts("vxlan id 7", "dev {dev} dstport 4789", 6)

    def test_vxlan_over_ipv6_without_outer_checksum(self):
        self.between_hosts("vxlan id 7", "dev {dev} dstport 4789 udp6zerocsumtx udp6zerocsumrx", 6)

    def test_vxlan_to_the_router(self):
        self.to_router("dev {dev} dstport 4789 udpcsum", 4)
        self.to_router("dev {dev} dstport 4789 noudpcsum", 4)

    def test_vxlan_to_the_router_over_ipv6(self):
        self.to_router("dev {dev} dstport 4789", 6)

    def test_geneve(self):
        for host in (self.client, self.server):
            if "Unknown device type" in host.run("ip", "link", "add", "t0", "type", "geneve", "id", 7, "remote",
                                                 "192.0.2.9", check=False).stdout:
                self.skipTest("this kernel has no geneve")
            host.ip("link", "del", "t0")
        with contextlib.ExitStack() as undo:
            for host, remote, address in ((self.client, WAN.host4, NEAR4), (self.server, LAN.host4, THERE4)):
                host.ip("link", "add", "t0", "type", "geneve", "id", 7, "remote", remote)
                undo.callback(host.ip, "link", "del", "t0")
                host.ip("addr", "add", address + "/24", "dev", "t0")
                host.ip("link", "set", "t0", "up", "mtu", "1400")
            talk(self.client, self.server, NEAR4, THERE4)

    def test_gre(self):
        self.between_hosts("gre")

    def test_gre_with_checksum_key_and_sequence(self):
        self.between_hosts("gre", "csum key 5 seq")

    def test_gretap(self):
        self.between_hosts("gretap", "csum")

    def test_ip6gre(self):
        self.between_hosts("ip6gre", "csum", 6)

    def test_ipip(self):
        self.between_hosts("ipip", inner=(4,))

    def test_sit(self):
        self.between_hosts("sit", inner=(6,))

    def test_ip6tnl(self):
        self.between_hosts("ip6tnl", "mode any", 6)

    def test_gre_in_gue(self):
        for host in (self.client, self.server):
            done = host.run("ip", "fou", "add", "port", 6080, "gue", check=False)
            if done.returncode:
                self.skipTest(f"this kernel has no FOU: {done.stdout.strip()}")
        self.between_hosts("gre", "encap gue encap-sport auto encap-dport 6080 encap-csum")

    def segment_routed(self, mode):
        """Routes through an address that the server also has."""
        self.server.sysctl(ipv6__conf__all__seg6_enabled=1, ipv6__conf__eth0__seg6_enabled=1)
        route = (WAN.host6 + "/128", "via", LAN.router6, "dev", "eth0", "mtu", "1300")
        done = self.client.run("ip", "-6", "route", "add", *route[:1], "encap", "seg6", "mode", mode, "segs", FAR6,
                               *route[1:], check=False)
        if done.returncode:
            self.skipTest(f"this kernel has no SRv6: {done.stdout.strip()}")
        try:
            talk(self.client, self.server, LAN.host6, WAN.host6)
        finally:
            self.client.ip("-6", "route", "del", *route[:1])

    def test_srv6_inline(self):
        self.segment_routed("inline")

    def test_srv6_encapsulated(self):
        self.segment_routed("encap")

    def test_ipv6_destination_options(self):
        """Every packet of a connection, and every datagram, has destination options."""
        IPV6_DSTOPTS, IPV6_HOPOPTS = 59, 54
        for option, size in ((IPV6_DSTOPTS, BYTES), (IPV6_HOPOPTS, 20_000)):
            with self.subTest(option):
                padded = Sender(self.client, option)
                transfer(padded, self.server, WAN.host6, size)
                echo(padded, self.server, WAN.host6)


class Sender:
    """A host whose sockets send a padding option in each packet."""

    def __init__(self, host, option):
        self.host, self.option = host, option

    def _opened(self, s):
        s.setsockopt(socket.IPPROTO_IPV6, self.option, struct.pack("BBBBI", 0, 0, 1, 4, 0))
        return s

    def tcp(self, address):
        return self._opened(self.host.tcp(address))

    def udp(self, address):
        return self._opened(self.host.udp(address))


def checksum(data):
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


MARK = b"halfpoll-encap-mark!"
LINK = functools.partial(Ether, src=LAN.host_mac, dst=LAN.router_mac)
OUTER4 = functools.partial(IP, src=LAN.host4, dst=WAN.host4)
OUTER6 = functools.partial(IPv6, src=LAN.host6, dst=WAN.host6)
TCP4 = IP(src=NEAR4, dst=THERE4) / TCP(sport=9, dport=9) / MARK
UDP6 = IPv6(src=NEAR6, dst=THERE6) / UDP(sport=9, dport=9) / MARK
FRAME = Ether(src="02:00:00:00:05:01", dst="02:00:00:00:05:02")
PAD = PadN(optdata=b"\0\0\0\0")
VNI = VXLAN(flags=8, vni=5)
GENEVE = b"\x00\x00\x65\x58\x00\x00\x05\x00"
GUE_IPIP = b"\x00\x04\x00\x00"

CHAINS = {
    "vxlan": OUTER4() / UDP(sport=49152, dport=4789) / VNI / FRAME / TCP4,
    "vxlan without checksum": OUTER4() / UDP(sport=49152, dport=4789, chksum=0) / VNI / FRAME / UDP6,
    "vxlan of tagged frames over ipv6":
        OUTER6() / UDP(sport=49152, dport=8472) / VNI / FRAME / Dot1Q(vlan=5, type=0x8100) / Dot1Q(vlan=6) / TCP4,
    "geneve": OUTER4() / UDP(sport=49152, dport=6081) / (GENEVE + bytes(FRAME / TCP4)),
    "gre": OUTER4() / GRE() / TCP4,
    "gre with checksum, key, sequence":
        OUTER4() / GRE(chksum_present=1, key_present=1, seqnum_present=1, key=1, sequence_number=2) / UDP6,
    "gretap over ipv6": OUTER6(nh=47) / GRE(proto=0x6558) / FRAME / TCP4,
    "ipip": OUTER4() / TCP4,
    "sit": OUTER4() / UDP6,
    "ipv4 in ipv6": OUTER6() / TCP4,
    "fou": OUTER4() / UDP(sport=49152, dport=5555) / bytes(TCP4),
    "gue": OUTER4() / UDP(sport=49152, dport=6080, chksum=0) / (GUE_IPIP + bytes(TCP4)),
    "destination options": OUTER6() / IPv6ExtHdrDestOpt(options=[PAD]) / TCP(sport=9, dport=9) / MARK,
    "hop-by-hop options": OUTER6() / IPv6ExtHdrHopByHop(options=[PAD]) / UDP(sport=9, dport=9) / MARK,
    "srv6 inline": OUTER6(dst=FAR6) / IPv6ExtHdrSegmentRouting(addresses=[WAN.host6, FAR6], segleft=1, lastentry=1)
                   / TCP(sport=9, dport=9) / MARK,
    "srv6 of frames": OUTER6(dst=FAR6) / IPv6ExtHdrSegmentRouting(nh=143, addresses=[WAN.host6, FAR6], segleft=1, lastentry=1)
                      / FRAME / TCP4,
}


class Chains(unittest.TestCase):
    """Frames of every tunnel that the kernel of a host may have, whether this kernel has it or not. The innermost
    checksum is left to the device, as the tunnel's driver leaves it."""

    @classmethod
    def setUpClass(cls):
        cls.lab = Lab(("lan", "wan"))
        cls.client, cls.server, cls.router = cls.lab.client, cls.lab.server, cls.lab.router
        cls.router.ip("-6", "route", "add", FAR6_NET, "via", WAN.host6)
        if KERNEL:  # the kernel leaves checksums to the next device in turn
            cls.router.run("ethtool", "-K", WAN.dev, "tx", "off")
        ping(cls.client, WAN.host4)
        ping(cls.client, WAN.host6)

    @classmethod
    def tearDownClass(cls):
        cls.lab.stop()

    def forwarded(self, frame, vnet_header):
        """Sends a frame; returns the frames that arrive, without their link headers."""
        PACKET_VNET_HDR, SOL_PACKET = 15, 263
        last = LINK() / OUTER4() / UDP(sport=9, dport=9) / b"halfpoll-last"
        with self.server.packets() as there, self.client.packets() as here:
            here.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
            here.send(vnet_header + frame)
            ping(self.client, LAN.router4)  # through the slow path, after packets that went there
            here.send(bytes(10) + bytes(last))
            return [f[14:] for f in capture(there, lambda f: MARK in f, lambda f: b"halfpoll-last" in f)]

    def passes(self, packet, layer4_length):
        """Checks that a packet passes whose last `layer4_length` bytes are a TCP or UDP packet with an unfinished
        checksum."""
        expected = bytearray(bytes(packet))
        ttl = 7 if expected[0] >> 4 == 6 else 8
        frame = bytearray(bytes(LINK() / packet))
        start = len(frame) - layer4_length
        field = 6 if layer4_length == 8 + len(MARK) else 16
        pseudo = 0xFFFF - checksum(bytes(frame[start:]))
        frame[start + field:start + field + 2] = struct.pack("!H", pseudo)
        got = self.forwarded(bytes(frame), struct.pack("=BBHHHH", 1, 0, 0, 0, start, field))
        self.assertEqual(len(got), 1)
        expected[ttl] -= 1
        if ttl == 8:
            expected[10:12] = bytes(2)
            expected[10:12] = struct.pack("!H", 0xFFFF - checksum(bytes(expected[:20])))
        self.assertEqual(got[0].hex(), expected.hex())

    def test_chains(self):
        for name, packet in CHAINS.items():
            with self.subTest(name):
                # A UDP header has 8 bytes, a TCP header 20.
                udp = bytes(packet)[-8 - len(MARK):][:4] == b"\0\x09\0\x09"
                self.passes(packet, (8 if udp else 20) + len(MARK))
