# SPDX-License-Identifier: BSD-3-Clause
"""A BGP speaker in a thread (RFC 4271, the part that one IPv4 neighbour needs), and FRR in a namespace."""

import contextlib
import ipaddress
import json
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

from lab import run, wait_for

HOLD = 9
OPEN, UPDATE, NOTIFICATION, KEEPALIVE = 1, 2, 3, 4
FRR = pathlib.Path("/usr/lib/frr")


def message(kind, body=b""):
    return b"\xff" * 16 + struct.pack("!HB", 19 + len(body), kind) + body


def update(asn, next_hop, prefixes):
    """Yields as many UPDATE messages as it takes to announce /24 prefixes, given as three bytes each."""
    attributes = (b"\x40\x01\x01\x00" + struct.pack("!BBBBBH", 0x40, 2, 4, 2, 1, asn) + b"\x40\x03\x04" + socket.inet_aton(next_hop))
    head = struct.pack("!HH", 0, len(attributes)) + attributes
    room = (4096 - 19 - len(head)) // 4
    for at in range(0, len(prefixes), room):
        yield message(UPDATE, head + b"".join(b"\x18" + p for p in prefixes[at:at + room]))


def prefixes(count, first="11.0.0.0"):
    """Returns `count` consecutive /24 prefixes, as three bytes each."""
    start = int(ipaddress.ip_address(first)) >> 8
    return [(start + i).to_bytes(3, "big") for i in range(count)]


class Speaker(threading.Thread):
    """A BGP neighbour of the router, which announces routes and counts the routes that it learns. `down`: why the
    session ended; None: it is established."""

    def __init__(self, host, address, router, asn):
        super().__init__(daemon=True)
        self.host, self.address, self.router, self.asn = host, address, router, asn
        self.learned, self.withdrawn, self.down, self.ending = 0, 0, None, False
        self.socket, self.buffer, self.lock = None, b"", threading.Lock()
        self.connect()
        self.start()

    def connect(self):
        def attempt():
            s = self.host.tcp(self.address)
            try:
                s.bind((self.address, 0))
                s.connect((self.router, 179))
                self.socket, self.buffer = s, b""
                self.send(message(OPEN, struct.pack("!BHH", 4, self.asn, HOLD) + socket.inet_aton(self.address) + b"\0"))
                s.settimeout(HOLD)
                return self.receive()[0] == OPEN
            except OSError:
                s.close()
                return False
        wait_for(f"the router's BGP talks to {self.address}", attempt, 30, 0.5)
        self.send(message(KEEPALIVE))

    def send(self, data):
        with self.lock:
            self.socket.sendall(data)

    def announce(self, networks):
        for each in update(self.asn, self.address, networks):
            self.send(each)

    def run(self):
        last = time.monotonic()
        self.socket.settimeout(1)
        heard = time.monotonic()
        try:
            while not self.ending:
                if time.monotonic() - last >= HOLD / 3:
                    self.send(message(KEEPALIVE))
                    last = time.monotonic()
                try:
                    kind, body = self.receive()
                except socket.timeout:
                    if time.monotonic() - heard > HOLD:
                        self.down = "hold time expired here"
                        return
                    continue
                heard = time.monotonic()
                if kind == NOTIFICATION:
                    self.down = f"notification {body[:2].hex()}"
                    return
                if kind == UPDATE:
                    self.count(body)
        except OSError as e:
            self.down = self.down or repr(e)

    def receive(self):
        while len(self.buffer) < 19 or len(self.buffer) < int.from_bytes(self.buffer[16:18], "big"):
            more = self.socket.recv(65536)
            if not more:
                raise ConnectionError("closed by the router")
            self.buffer += more
        length, kind = struct.unpack("!HB", self.buffer[16:19])
        body, self.buffer = self.buffer[19:length], self.buffer[length:]
        return kind, body

    def count(self, body):
        withdrawn = int.from_bytes(body[:2], "big")
        attributes = int.from_bytes(body[2 + withdrawn:4 + withdrawn], "big")
        self.withdrawn += self.networks(body[2:2 + withdrawn])
        self.learned += self.networks(body[4 + withdrawn + attributes:])

    @staticmethod
    def networks(data):
        count, at = 0, 0
        while at < len(data):
            at += 1 + (data[at] + 7) // 8
            count += 1
        return count

    def stop(self):
        self.ending = True
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.join(5)
        self.socket.close()


class Frr:
    """zebra and bgpd in a namespace, with their own files."""

    def __init__(self, namespace, folder, config):
        self.namespace, self.folder, self.processes = namespace, pathlib.Path(folder), []
        self.folder.mkdir()
        shutil.chown(self.folder, "frr", "frr")  # the user that the daemons change to
        self.folder.parent.chmod(0o711)
        path = self.folder / "frr.conf"
        path.write_text(config, encoding="utf-8")
        for daemon in ("zebra", "bgpd"):
            log = open(self.folder / f"{daemon}.out", "w", encoding="utf-8")
            self.processes.append(namespace.popen(
                FRR / daemon, "-f", path, "-i", self.folder / f"{daemon}.pid", "-z", self.folder / "zserv",
                "--vty_socket", self.folder, "-P", 0, *(["-p", 179] if daemon == "bgpd" else []), stdout=log, stderr=log))
            log.close()
            wait_for(f"{daemon} answers", lambda d=daemon: (self.folder / f"{d}.vty").exists() or self.check(), 20)

    def check(self):
        for p in self.processes:
            assert p.poll() is None, f"{p.args} ended: " + "".join(f.read_text(errors="replace") for f in self.folder.glob("*.out"))
        return False

    def vtysh(self, command):
        return run("vtysh", "--vty_socket", self.folder, "-c", command, timeout=60).stdout

    def neighbours(self):
        return json.loads(self.vtysh("show bgp neighbors json"))

    def stop(self):
        for p in reversed(self.processes):
            with contextlib.suppress(ProcessLookupError):
                p.send_signal(signal.SIGTERM)
        for p in self.processes:
            try:
                p.wait(20)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
