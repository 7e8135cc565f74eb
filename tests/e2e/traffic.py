# SPDX-License-Identifier: BSD-3-Clause
"""Clients and servers for the end-to-end tests, in threads; and what they check."""

import contextlib
import hashlib
import os
import re
import select
import socket
import threading
import time

from lab import wait_for

WINDOW = 200  # datagrams: less than any queue on their way holds


def ping(host, address, *options, count=1, interval=0.2, deadline=50):
    """ping's output; a failure unless every request was answered."""
    done = host.run("ping", "-n", "-c", count, "-i", interval, "-W", 20, "-w", deadline, *options, address, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout


def answers(host, address):
    """Whether one echo request is answered within a second."""
    return host.run("ping", "-n", "-c", 1, "-W", 1, address, check=False).returncode == 0


def wait_ping(host, address, timeout):
    """Waits until `address` answers. Requests go out every 50 ms."""
    wait_for(f"{address} answers", lambda: host.run("ping", "-n", "-c", 1, "-W", "0.3", address,
                                                    check=False).returncode == 0, timeout, 0.05)


class Thread(threading.Thread):
    """A thread whose exception is raised by result()."""

    def __init__(self, function, *args):
        super().__init__(daemon=True)
        self.call, self.value, self.failure = (function, args), None, None
        self.start()

    def run(self):
        try:
            self.value = self.call[0](*self.call[1])
        except BaseException as e:
            self.failure = e

    def result(self, timeout=60):
        self.join(timeout)
        assert not self.is_alive(), f"{self.call[0].__name__} still runs after {timeout} s"
        if self.failure:
            raise self.failure
        return self.value


class Background:
    """`with`: runs step() again and again in a thread until the block ends."""

    def __init__(self, step):
        self.step, self.ending = step, threading.Event()

    def __enter__(self):
        self.thread = Thread(self._loop)
        return self

    def _loop(self):
        while not self.ending.is_set():
            self.step()

    def __exit__(self, *_):
        self.ending.set()
        self.thread.result()


@contextlib.contextmanager
def udp_echo(host, address, port=7000):
    """An echo server as long as the block lasts."""
    with host.udp(address, port) as s, Background(lambda: _echo_once(s)):
        yield


def _echo_once(s):
    if select.select([s], [], [], 0.1)[0]:
        data, peer = s.recvfrom(65536)
        s.sendto(data, peer)


class Sink:
    """A UDP receiver that keeps what it got (first 8 bytes as a number)."""

    def __init__(self, host, address, port):
        self.socket, self.got = host.udp(address, port, 0.2), []
        self.background = Background(self._step)

    def _step(self):
        with contextlib.suppress(socket.timeout):
            self.got.append(int.from_bytes(self.socket.recv(65536)[:8], "big"))

    def __enter__(self):
        self.background.__enter__()
        return self

    def __exit__(self, *args):
        self.background.__exit__(*args)
        self.socket.close()


class Stream:
    """Sends numbered datagrams at an even rate as long as the block lasts. With `sinks`, the receivers of what is to
    arrive without loss, at most WINDOW are under way: a router that waits for its CPU overflows no queue."""

    def __init__(self, host, source, destination, rate=1000, port=0, sinks=()):
        self.socket, self.to, self.gap, self.sent = host.udp(source, port), destination, 1 / rate, 0
        self.sinks = sinks
        self.background = Background(self._step)

    def _step(self):
        if not self.sinks or self.sent - sum(len(s.got) for s in self.sinks) < WINDOW:
            with contextlib.suppress(OSError):  # ICMP errors of earlier ones are reported here
                self.socket.sendto(self.sent.to_bytes(8, "big"), self.to)
                self.sent += 1
        time.sleep(self.gap)

    def __enter__(self):
        self.background.__enter__()
        return self

    def __exit__(self, *args):
        self.background.__exit__(*args)
        self.socket.close()


def transfer(source, destination, address, size, port=7001):
    """Sends `size` random bytes over TCP to `address` at `destination` and compares the digests."""
    block = os.urandom(1 << 20)
    with destination.tcp(address) as listener:
        listener.bind((address, port))
        listener.listen(1)
        receiver = Thread(_receive, listener)
        sent = hashlib.sha256()
        with source.tcp(address) as s:
            s.connect((address, port))
            for offset in range(0, size, len(block)):
                piece = block[offset // len(block) % 251:][:size - offset]
                s.sendall(piece)
                sent.update(piece)
        length, digest = receiver.result(300)
        assert digest == sent.hexdigest(), f"the {length} bytes that arrived are not those that were sent"


def _receive(listener):
    connection, _ = listener.accept()
    digest, length = hashlib.sha256(), 0
    with connection:
        connection.settimeout(30)
        while data := connection.recv(1 << 18):
            digest.update(data)
            length += len(data)
    return length, digest.hexdigest()


def iperf3(client, server, address, *options, seconds=2):
    """Mbit/s that iperf3 says the receiver got."""
    with server.popen("iperf3", "-s", "-1", "-B", address, "--forceflush", stdout=-1, stderr=-2) as process:
        try:
            line = process.stdout.readline()
            while "listening" not in line:
                assert line, "iperf3 -s ended"
                line = process.stdout.readline()
            done = client.run("iperf3", "-c", address, "-t", seconds, "-f", "m", *options, timeout=seconds + 100)
            process.wait(100)
        finally:
            process.kill()
    return float(re.findall(r"([\d.]+) Mbits/sec.*receiver", done.stdout)[-1])


def capture(s, wanted, until, timeout=50):
    """Frames that arrive on packet socket `s` and for which wanted(frame) holds, up to the one for which until(frame)
    does, which must come within `timeout` seconds."""
    end, got = time.monotonic() + timeout, []
    while True:
        s.settimeout(max(0.01, end - time.monotonic()))
        try:
            frame, address = s.recvfrom(65536)
        except socket.timeout:
            raise AssertionError(f"the last frame did not come within {timeout} s ({len(got)} others did)") from None
        if address[2] == socket.PACKET_OUTGOING:
            continue
        if until(frame):
            return got
        if wanted(frame):
            got.append(frame)
