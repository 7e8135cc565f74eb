# SPDX-License-Identifier: BSD-3-Clause
"""Clients and servers in threads for the end-to-end tests, with their checks."""

import contextlib
import hashlib
import os
import re
import select
import socket
import threading
import time

from lab import wait_for

WINDOW = 200  # in datagrams; every queue on the way holds more


def ping(host, address, *options, count=1, interval=0.2, deadline=50):
    """Returns ping's output. Fails unless every request was answered."""
    done = host.run("ping", "-n", "-c", count, "-i", interval, "-W", 20, "-w", deadline, *options, address, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout


def answers(host, address):
    """True if one echo request is answered within a second."""
    return host.run("ping", "-n", "-c", 1, "-W", 1, address, check=False).returncode == 0


def wait_ping(host, address, timeout):
    """Waits until `address` answers. A request goes out every 50 ms."""
    wait_for(f"{address} answers", lambda: host.run("ping", "-n", "-c", 1, "-W", "0.3", address,
                                                    check=False).returncode == 0, timeout, 0.05)


class Thread(threading.Thread):
    """A thread; result() raises the exception that ended it."""

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
    """`with`: calls step() repeatedly in a thread until the block ends."""

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
    """Runs an echo server until the block ends."""
    with host.udp(address, port) as s, Background(lambda: _echo_once(s)):
        yield


def _echo_once(s):
    if select.select([s], [], [], 0.1)[0]:
        data, peer = s.recvfrom(65536)
        s.sendto(data, peer)


class Sink:
    """A UDP receiver that records each datagram (its first 8 bytes as a number)."""

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
    """Sends numbered datagrams at an even rate until the block ends. `sinks` are receivers that must get all of them:
    then at most WINDOW datagrams are in flight, so that a router that waits for its CPU overflows no queue."""

    def __init__(self, host, source, destination, rate=1000, port=0, sinks=()):
        self.socket, self.to, self.gap, self.sent = host.udp(source, port), destination, 1 / rate, 0
        self.sinks = sinks
        self.background = Background(self._step)

    def _step(self):
        if not self.sinks or self.sent - sum(len(s.got) for s in self.sinks) < WINDOW:
            with contextlib.suppress(OSError):  # a send reports ICMP errors of earlier datagrams
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
    """Returns the receiver's rate in Mbit/s, as iperf3 reports it."""
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
    """Returns the frames that arrive on packet socket `s` and for which wanted(frame) is true, up to a frame for which
    until(frame) is true. That frame must arrive within `timeout` seconds."""
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
