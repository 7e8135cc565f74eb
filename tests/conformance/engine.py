# SPDX-License-Identifier: BSD-3-Clause
"""Cases and their execution. The packets of all cases are sent at once. Frames that arrive at the hosts are assigned to
their case by the token in the payload, and then each case judges its frames. Marker packets prove that nothing more
comes: they are sent later, and have arrived through every way out of the router."""

import collections
import logging
import re
import select
import socket
import struct
import time

from scapy.layers.inet import IP, UDP, Ether, ICMP, IPOption_NOP
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw

from network import BEYOND_ALT, BEYOND_DMZ, BEYOND_LAN, BEYOND_WAN, NETS

logging.getLogger("scapy.runtime").setLevel(logging.ERROR)
TOKEN = re.compile(rb"hpc([0-9a-f]{4})\.")
MARKER = re.compile(rb"hpsync([0-9a-f]{8})\.")
BATCH = 16  # cases between two markers; they fit into every queue
BEYOND = {"wan": BEYOND_WAN, "alt": BEYOND_ALT, "dmz": BEYOND_DMZ, "lan": BEYOND_LAN}
CASES = []


def case(name, rfc, **options):
    """Registers function(c) as a case. Options: linux=…: how Linux, and so every router here, differs from the RFC."""
    def register(function):
        CASES.append((name, rfc, function, options))
        return function
    return register


def rows(name, rfc, table, **options):
    """Registers one case for each row: function(c, *row). `name` is formatted with the row."""
    def register(function):
        for row in table:
            row = row if isinstance(row, tuple) else (row,)
            case(name.format(*row), rfc, **options)(lambda c, row=row: function(c, *row))
        return function
    return register


def internet_sum(data):
    """Returns the ones' complement sum; 0xffff if a checksum in the data is correct."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total


def pseudo6(source, destination, length, protocol):
    return source + destination + struct.pack("!I3xB", length, protocol)


def hop4(packet):
    """Returns an IPv4 packet one hop further, with a correct checksum."""
    raw = bytearray(packet)
    raw[8] -= 1
    header = (raw[0] & 15) * 4
    raw[10:12] = b"\0\0"
    raw[10:12] = struct.pack("!H", 0xffff ^ internet_sum(bytes(raw[:header])))
    return bytes(raw)


def hop6(packet):
    raw = bytearray(packet)
    raw[7] -= 1
    return bytes(raw)


def link_of(port, ethertype):
    """Returns the link header of frames from the router to the host at a port."""
    net = NETS[port]
    return bytes(Ether(dst=net.host_mac, src=net.router_mac, type=ethertype))


def describe(frame):
    try:
        return Ether(frame).summary()
    except Exception:  # any frame gets a description
        return frame[:64].hex()


class Want:
    """A frame that must come out of a port. mismatch(frame) returns why a frame is not the wanted one, or None if it
    is."""

    def __init__(self, port, what, mismatch):
        self.port, self.what, self.mismatch = port, what, mismatch


class Case:
    def __init__(self, number, name, rfc, function, options, router):
        self.name, self.rfc, self.options = name, rfc, options
        self.number = number
        self.router = router
        self.token = b"hpc%04x." % number
        self.sends, self.wants, self.claims, self.tolerated, self.got = [], [], [], [], []
        self.late = False         # some answers of the kernel take a while
        self.sampled = None       # the Want that comes for sure only if the packet is alone, or the first of a burst
        self.marked = tuple(NETS)  # the ports that send markers
        function(self)

    # ---- packets ----

    def payload(self, length=None):
        """Returns the token, repeated up to `length`, so that each fragment contains it."""
        return self.token if length is None else (self.token * (length // len(self.token) + 1))[:length]

    def ip4(self, to="wan", length=None, **fields):
        """Returns a UDP packet from the client to a host beyond a port. `length`: of the whole packet."""
        dst = f"10.78.{BEYOND[to]}.1" if isinstance(to, str) else f"10.78.{to}.1"
        size = None if length is None else length - 28 - 4 * ((len(fields.get("raw_options", b"")) + 3) // 4)
        options = fields.pop("raw_options", None)
        header = IP(**{"src": NETS["lan"].host4, "dst": dst, "id": 0x4000 + self.number, **fields})
        datagram = bytes(UDP(sport=40000, dport=9, chksum=0) / Raw(self.payload(size)))
        if options is not None:
            return with_options(header, options, datagram)
        return bytes(header / UDP(datagram)) if fields.get("proto", 17) == 17 else bytes(header / Raw(datagram))

    def ip6(self, to="wan", length=None, headers=b"", nh=None, **fields):
        """Returns the same for IPv6. `headers`: extension headers as bytes; `nh` is the type of the first one."""
        dst = f"fd78:{BEYOND[to]}::1" if isinstance(to, str) else f"fd78:{to}::1"
        size = None if length is None else length - 48 - len(headers)
        base = IPv6(**{"src": NETS["lan"].host6, "dst": dst, "nh": 17 if nh is None else nh, **fields})
        datagram = self.udp6(base.src, base.dst, self.payload(size))
        if "plen" not in fields:
            base.plen = len(headers) + len(datagram)
        return bytes(base) + headers + datagram

    @staticmethod
    def udp6(src, dst, payload):
        whole = bytes(IPv6(src=src, dst=dst) / UDP(sport=40000, dport=9) / Raw(payload))
        return whole[40:]

    def send(self, packet, port="lan", mac=None, ethertype=None, frame=False):
        """Sends an IP packet (or a whole frame) from the host at a port to the router."""
        net = NETS[port]
        packet = bytes(packet)
        if not frame:
            kind = ethertype if ethertype is not None else 0x86dd if packet[0] >> 4 == 6 else 0x0800
            packet = bytes(Ether(dst=mac or net.router_mac, src=net.host_mac, type=kind)) + packet
        self.sends.append((port, packet))
        return packet

    # ---- expectations ----

    def want(self, port, what, mismatch):
        self.wants.append(Want(port, what, mismatch))

    def exactly(self, port, packet, ethertype=None):
        """Expects this packet at a port, without padding: these links have no minimum frame size."""
        kind = ethertype if ethertype is not None else 0x86dd if packet[0] >> 4 == 6 else 0x0800
        expected = link_of(port, kind) + packet

        def mismatch(frame):
            return None if frame == expected else first_difference(expected, frame)
        self.want(port, "the packet one hop further", mismatch)

    def forwarded(self, packet, to="wan", edit=None):
        """Expects the packet at a port, with only TTL and checksum changed, and with edit(bytes) applied."""
        packet = bytes(packet)
        packet = hop6(packet) if packet[0] >> 4 == 6 else hop4(edit(packet) if edit else packet)
        self.exactly(to, packet)

    def passes(self, packet, port="lan", to="wan", **more):
        self.send(packet, port, **more)
        self.forwarded(packet, to)

    def dropped(self, packet, port="lan", **more):
        """Sends a packet for which no frame may come out of any port."""
        self.send(packet, port, **more)

    def error4(self, packet, kind, code, port="lan", rest=b"\0\0\0\0", source=None, ttl_gone=False, more=None):
        """Expects that the sender gets this ICMP error about its packet (RFC 792, 1812 4.3.2)."""
        packet = bytes(packet)
        router = socket.inet_aton(source or NETS[port].router4)

        def mismatch(frame):
            return error4_mismatch(frame, link_of(port, 0x0800), router, packet, kind, code, rest, ttl_gone)
        self.want(port, f"ICMP error {kind}/{code}", mismatch)

    def error6(self, packet, kind, code, port="lan", rest=b"\0\0\0\0", source=None, ttl_gone=False):
        packet = bytes(packet)
        router = socket.inet_pton(socket.AF_INET6, source or NETS[port].router6)

        def mismatch(frame):
            return error6_mismatch(frame, link_of(port, 0x86dd), router, packet, kind, code, rest, ttl_gone)
        self.want(port, f"ICMPv6 error {kind}/{code}", mismatch)

    def claim(self, predicate):
        """Frames without a token belong to this case if predicate(port, frame) is true."""
        self.claims.append(predicate)

    def tolerate(self, predicate):
        """Frames for which predicate(port, frame) is true may come or not: the case does not test them."""
        self.tolerated.append(predicate)

    # ---- verdict ----

    def missing(self):
        return [w for w in self.wants if not any(port == w.port and w.mismatch(f) is None for port, f in self.got)]

    def complete(self):
        return not self.judge(strict=False)

    def judge(self, strict=True):
        """Returns everything that is wrong, as a list of lines."""
        left, wrong = list(self.got), []
        for want in self.wants:
            reasons = []
            for item in left:
                why = "came out of " + item[0] if item[0] != want.port else want.mismatch(item[1])
                if why is None:
                    left.remove(item)
                    break
                reasons.append(f"    {item[0]}: {describe(item[1])}: {why}")
            else:
                wrong += [f"{want.what} did not come out of {want.port}", *reasons]
        if strict:
            wrong += [f"unexpected at {port}: {describe(frame)} {frame.hex()[:400]}" for port, frame in left
                      if not any(t(port, frame) for t in self.tolerated)]
        return wrong


def first_difference(expected, frame):
    for i, (a, b) in enumerate(zip(expected, frame)):
        if a != b:
            return f"differs at byte {i}: {b:#04x}, expected {a:#04x}"
    return f"{len(frame)} bytes, expected {len(expected)}"


def with_options(header, options, datagram):
    """Returns an IPv4 packet with these bytes as options, padded with End of Option List."""
    options += b"\0" * (-len(options) % 4)
    header = header.copy()
    header.ihl = 5 + len(options) // 4
    header.len = 20 + len(options) + len(datagram)
    header.proto = 17
    header.chksum = 0
    raw = bytearray(bytes(header)[:20] + options)
    raw[10:12] = struct.pack("!H", 0xffff ^ internet_sum(bytes(raw)))
    return bytes(raw) + datagram


def error4_mismatch(frame, link, router, packet, kind, code, rest, ttl_gone):
    ip, icmp = frame[14:], frame[34:]
    total = int.from_bytes(ip[2:4], "big")
    icmp = ip[20:total]
    quote = icmp[8:]
    if frame[:14] != link or ip[0] != 0x45 or ip[9] != 1:
        return "no ICMP for the sender's host"
    if (icmp[0], icmp[1]) != (kind, code):
        return f"ICMP {icmp[0]}/{icmp[1]}"
    if internet_sum(ip[:20]) != 0xffff or internet_sum(icmp) != 0xffff:
        return "wrong checksum"
    if ip[12:16] != router:
        return f"from {socket.inet_ntoa(ip[12:16])}"
    if ip[16:20] != packet[12:16]:
        return f"to {socket.inet_ntoa(ip[16:20])}"
    if ip[1] & 0xe0 not in (0xc0, 0xe0):
        return f"precedence {ip[1] >> 5}, 6 or 7 is asked (RFC 1812 4.3.2.5)"
    if ip[6] & 0x3f or ip[7] or ip[8] < 32:
        return "a fragment, or a TTL that does not reach far"
    if icmp[4:8] != rest:
        return f"its second word is {icmp[4:8].hex()}, expected {rest.hex()}"
    header = (packet[0] & 15) * 4
    if total > 576 or len(quote) < min(len(packet), header + 8):
        return f"{total} bytes, of which {len(quote)} quoted"
    original = packet
    if ttl_gone:  # the error was made after the packet had been prepared for its next hop
        original = hop4(packet) if quote[8] == packet[8] - 1 else packet
    return None if quote == original[:len(quote)] else "quote: " + first_difference(original, quote)


def error6_mismatch(frame, link, router, packet, kind, code, rest, ttl_gone):
    ip = frame[14:]
    length = int.from_bytes(ip[4:6], "big")
    icmp = ip[40:40 + length]
    if frame[:14] != link or ip[0] >> 4 != 6 or ip[6] != 58:
        return "no ICMPv6 for the sender's host"
    if (icmp[0], icmp[1]) != (kind, code):
        return f"ICMPv6 {icmp[0]}/{icmp[1]}"
    if internet_sum(pseudo6(ip[8:24], ip[24:40], length, 58) + icmp) != 0xffff:
        return "wrong checksum"
    if ip[8:24] != router:
        return f"from {socket.inet_ntop(socket.AF_INET6, ip[8:24])}"
    if ip[24:40] != packet[8:24]:
        return f"to {socket.inet_ntop(socket.AF_INET6, ip[24:40])}"
    if icmp[4:8] != rest:
        return f"its second word is {icmp[4:8].hex()}, expected {rest.hex()}"
    if ip[7] < 32:
        return f"hop limit {ip[7]}"
    quote = icmp[8:]
    if len(quote) != min(len(packet), 1280 - 48):
        return f"quotes {len(quote)} bytes of {len(packet)} (RFC 4443 2.4 c)"
    original = hop6(packet) if ttl_gone and quote[7] == packet[7] - 1 else packet
    return None if quote == original[:len(quote)] else "quote: " + first_difference(original, quote)


class Bench:
    """Sends the cases' frames and assigns received frames to the cases."""

    def __init__(self, network):
        self.network = network
        self.sockets = network.packet_sockets()
        self.by_fd = {s.fileno(): (port, s) for port, s in self.sockets.items()}
        self.markers, self.number = set(), 0
        self.cases, self.claiming, self.strays = {}, [], collections.Counter()

    def close(self):
        for s in self.sockets.values():
            s.close()

    def receive(self, timeout):
        """Reads all frames that are available, waiting up to `timeout` seconds for one; returns False if none came."""
        ready = select.select(list(self.by_fd), [], [], timeout)[0]
        for fd in ready:
            port, s = self.by_fd[fd]
            while True:
                try:
                    frame, address = s.recvfrom(65536)
                except BlockingIOError:
                    break
                if address[2] != socket.PACKET_OUTGOING:
                    self.sort(port, frame)
        return bool(ready)

    def sort(self, port, frame):
        for found in MARKER.findall(frame):
            self.markers.discard((port, found))
            return
        found = TOKEN.search(frame)
        if found and int(found[1], 16) in self.cases:
            self.cases[int(found[1], 16)].got.append((port, frame))
            return
        for c in self.claiming:
            if any(claim(port, frame) for claim in c.claims):
                c.got.append((port, frame))
                return

    def marker(self, source, target, l3):
        """Sends one marker, which must come out at `target`."""
        self.number += 1
        text = b"%08x" % self.number
        net = NETS[source]
        frame = bytes(Ether(dst=net.router_mac, src=net.host_mac) / l3 / Raw(b"hpsync" + text + b"."))
        self.markers.add((target, text))
        self.transmit(source, frame)

    def sync(self, ports=tuple(NETS), attempts=5):
        """Returns when all packets sent before have been processed, by the fast path and by the kernel, out of each
        port. A marker may be lost while a port is reopened for another MTU; then the markers are sent again."""
        for _ in range(attempts):
            self.markers.clear()
            self.send_markers(ports)
            end = time.monotonic() + 4
            while self.markers and time.monotonic() < end:
                self.receive(0.1)
            if not self.markers:
                return
        raise AssertionError(f"markers that the router should have passed did not come: {sorted(self.markers)}")

    def send_markers(self, ports):
        for source, a in ((p, NETS[p]) for p in ports):
            self.marker(source, source, IP(src=a.host4, dst=a.router4) / ICMP(id=7, seq=self.number & 0xffff))
            for target in NETS:
                if target != source:
                    there = f"10.78.{BEYOND[target]}.9"
                    self.marker(source, target, IP(src=a.host4, dst=there) / UDP(sport=7, dport=7))
                    self.marker(source, target, IP(src=a.host4, dst=there, options=[IPOption_NOP()] * 4) / UDP(sport=7, dport=7))

    def transmit(self, port, frame):
        while True:
            try:
                self.sockets[port].send(frame)
                return
            except BlockingIOError:
                time.sleep(0.001)

    def send_alone(self, c):
        """Sends the packets of a case again, alone, if only the sampled answer is missing: they shared a burst with others.
        Everything has to come anew then."""
        for _ in range(5):
            if not c.sampled or c.missing() != [c.sampled]:
                return
            c.got.clear()
            for port, frame in c.sends:
                self.transmit(port, frame)
                self.sync(c.marked)

    def run(self, cases):
        """Runs all cases at once."""
        self.cases = {c.number: c for c in cases}
        self.claiming = [c for c in cases if c.claims]
        self.sync(cases[-1].marked)
        for i, c in enumerate(cases):
            for port, frame in c.sends:
                self.transmit(port, frame)
            if i % BATCH == BATCH - 1:
                self.sync()
        self.sync(cases[-1].marked)
        self.sync(cases[-1].marked)  # for packets that took the kernel longer
        for c in cases:
            self.send_alone(c)
        end = time.monotonic() + 50
        while not all(c.complete() for c in cases if c.late) and time.monotonic() < end:
            self.receive(0.1)
