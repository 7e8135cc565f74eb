# SPDX-License-Identifier: BSD-3-Clause
"""XDP programs on a running router with real traffic: the shipped programs, redirects between three ports, and programs
that are replaced a hundred times a second without loss."""

import contextlib
import json
import pathlib
import select
import socket
import time
import unittest

from scapy.layers.inet import ICMP, IP, TCP, UDP, Ether
from scapy.utils import PcapNgReader

from lab import FAR4, FAR6, HOSTS, KERNEL, NETWORKS, PROGRAM, Lab, wait_for
from traffic import Background, Sink, Stream, answers, ping, transfer

LAN, WAN, ALT = NETWORKS["lan"], NETWORKS["wan"], NETWORKS["alt"]
PROGRAMS = pathlib.Path(PROGRAM).parents[1] / "xdp"
PORT = 7100


def answer_once(listener, connections, name):
    """Answers any message of a client with the server's name."""
    for ready in select.select([listener, *connections], [], [], 0.1)[0]:
        if ready is listener:
            connections.append(listener.accept()[0])
        elif ready.recv(100):
            ready.send(name)
        else:
            connections.remove(ready)
            ready.close()


@contextlib.contextmanager
def named_server(host, address, name):
    connections = []
    with host.tcp(address) as listener:
        listener.bind((address, PORT))
        listener.listen(128)
        with Background(lambda: answer_once(listener, connections, name)):
            yield
    for c in connections:
        c.close()


@unittest.skipIf(KERNEL, "about halfpoll")
class Xdp(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.client, cls.server, cls.backup = cls.lab.client, cls.lab.server, cls.lab.backup
        for net in (WAN, ALT):
            ping(cls.client, net.host4)
            ping(cls.client, net.host6)

    @classmethod
    def tearDownClass(cls):
        cls.lab.stop()

    def tearDown(self):
        for net in (LAN, WAN, ALT):
            self.lab.halfpoll("xdp", "detach", net.name)

    def attach(self, port, program, config=""):
        self.lab.halfpoll("xdp", "attach", port, PROGRAMS / f"{program}.so", "--config", config)

    def control(self, stream, **request):
        """Sends one request on a connection to the control socket."""
        stream.write(json.dumps(request) + "\n")
        stream.flush()
        reply = json.loads(stream.readline())
        self.assertNotIn("error", reply)

    def figures(self, port):
        """Returns the figures that a port's program reports."""
        programs = json.loads(self.lab.halfpoll("xdp", "show", "--json").stdout)["xdp_programs"]
        return next(p["figures"] for p in programs if f"{port}-0" in p["queues"])

    def queue(self, port):
        return next(q for q in self.lab.show("xdp") if q["interface"] == port)

    def test_a_mistake_is_refused_with_its_place_and_changes_nothing(self):
        self.attach("lan", "filter", f"drop dst {ALT.host4}\n")
        path = self.lab.folder / "blocked"
        path.write_text("drop src 192.0.2.0/24\ndrop src 192.0.2.0/33\n", encoding="utf-8")
        refused = self.lab.halfpoll("xdp", "attach", "lan", PROGRAMS / "filter.so", "--config", f"include {path}",
                                    check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn(f"{path}:2:10: found 192.0.2.0/33, expected an address or a prefix", refused.stdout)
        self.assertFalse(answers(self.client, ALT.host4))
        ping(self.client, WAN.host4)

    def test_filter(self):
        dropped = self.queue("lan")["drop"]
        self.attach("lan", "filter", f"drop dst {ALT.host4}\ndrop dst {ALT.host6}/128\nsyn dst 50 20\n")
        self.assertFalse(answers(self.client, ALT.host4))
        self.assertFalse(answers(self.client, ALT.host6))
        ping(self.client, WAN.host4)
        ping(self.client, WAN.host6)
        self.assertGreaterEqual(self.figures("lan")["drop_dst"], 2)
        self.assertEqual(self.queue("lan")["drop"] - dropped, self.figures("lan")["drop_dst"])

        flood = [bytes(Ether(src=LAN.host_mac, dst=LAN.router_mac) / IP(src=f"10.77.1.{i % 100 + 100}", dst=WAN.host4) /
                       TCP(sport=1024 + i, dport=PORT, flags="S")) for i in range(300)]
        with self.server.packets() as there, self.client.packets() as here:
            start = time.monotonic()
            for frame in flood:
                here.send(frame)
            ping(self.client, WAN.host4)  # arrives after all of them
            took = time.monotonic() - start
            there.settimeout(0.2)
            arrived = 0
            with contextlib.suppress(socket.timeout):
                while True:
                    frame, address = there.recvfrom(2048)
                    arrived += address[2] != socket.PACKET_OUTGOING and frame[23] == 6 and frame[47] == 2
        self.assertGreaterEqual(arrived, 20)
        self.assertLessEqual(arrived, 20 + 50 * took + 2)
        self.assertEqual(arrived, 300 - self.figures("lan")["syn_dst"])
        transfer(self.client, self.server, WAN.host4, 2 << 20)

    def balance(self, address, more=""):
        backends = f"backend server {WAN.host_mac} dev wan\nbackend backup {ALT.host_mac} dev alt\n{more}"
        self.attach("lan", "l4lb", f"vip {address} tcp {PORT}\n{backends}")

    def test_load_balancer(self):
        """Connections to a virtual address, which both servers have, are spread. They keep their backend when another
        one is added; new connections then use that one, too."""
        for address in (FAR4, FAR6):
            with self.subTest(address), contextlib.ExitStack() as stack:
                stack.enter_context(named_server(self.server, address, b"server"))
                stack.enter_context(named_server(self.backup, address, b"backup"))
                self.balance(address)
                connections = [stack.enter_context(self.client.tcp(address)) for _ in range(24)]
                for c in connections:
                    c.settimeout(10)
                    c.connect((address, PORT))
                first = [self.ask(c) for c in connections]
                self.assertEqual(set(first), {b"server", b"backup"})
                # A backend that never answers: a connection that moved there would hang.
                self.balance(address, "backend nobody 02:77:00:00:99:99 dev alt\n")
                for _ in range(3):
                    self.assertEqual([self.ask(c) for c in connections], first)
                self.assertEqual(self.figures("lan")["flows_remembered"], 0)
                self.assertGreater(self.queue("lan")["redirect"], 24 * 5)

    def ask(self, connection):
        connection.send(b"who?")
        return connection.recv(100)

    def test_redirect_between_three_ports(self):
        """Each port redirects datagrams to the next one, around the ring of three ports, and all arrive."""
        ring, count = (LAN, WAN, ALT), 600
        for i, net in enumerate(ring):
            to = ring[(i + 1) % 3]
            self.attach(net.name, "l4lb", f"vip 192.0.2.9 udp 9\nbackend next {to.host_mac} dev {to.name}\n")
        before = {net.name: self.queue(net.name)["redirect"] for net in ring}
        hosts = [self.lab.namespaces[HOSTS[net.name]] for net in ring]
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(host.packets()) for host in hosts]
            for n in range(count):
                for net, s in zip(ring, sockets):
                    s.send(bytes(Ether(src=net.host_mac, dst=net.router_mac) / IP(src=net.host4, dst="192.0.2.9") /
                                 UDP(sport=n + 1, dport=9) / net.name.encode()))
            for i, s in enumerate(sockets):
                self.assertEqual(self.received(s, ring[i - 1].name.encode(), count), list(range(1, count + 1)))
        for net in ring:
            self.assertEqual(self.queue(net.name)["redirect"] - before[net.name], count)

    def received(self, s, what, count):
        """Returns the source ports of datagrams with that payload, until there are `count` of them or none comes for 10
        seconds."""
        ports = []
        s.settimeout(10)
        with contextlib.suppress(socket.timeout):
            while len(ports) < count:
                frame, address = s.recvfrom(2048)
                if address[2] != socket.PACKET_OUTGOING and frame[42:45] == what:
                    ports.append(int.from_bytes(frame[34:36], "big"))
        return ports

    def test_programs_swapped_under_load(self):
        """Programs are attached, replaced and detached a few datagrams apart: every datagram arrives."""
        swaps, files = 400, [str(PROGRAMS / "filter.so"), str(PROGRAMS / "l4lb.so")]
        changes = [dict(xdp="attach", port="lan", program=files[0], config="drop src 192.0.2.0/24"),
                   dict(xdp="attach", port="lan", program=files[0], config=""),
                   dict(xdp="attach", port="lan", program=files[1],
                        config="vip 192.0.2.9 udp 9\nbackend x 02:00:00:00:00:01\n"),
                   dict(xdp="detach", port="lan")]
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(10)
            s.connect(f"{self.lab.folder}/control")
            stream = s.makefile("rw", encoding="utf-8")
            with Sink(self.server, WAN.host4, 7101) as sink:
                with Stream(self.client, LAN.host4, (WAN.host4, 7101), rate=4000, sinks=[sink]) as load:
                    wait_for("the first datagrams", lambda: len(sink.got) > 10)
                    for i in range(swaps):
                        begun = load.sent
                        self.control(stream, **changes[i % len(changes)])
                        wait_for("the load goes on", lambda n=begun: load.sent >= n + 10, step=0.001)
                wait_for("all datagrams", lambda: len(sink.got) >= load.sent, 5)
                self.assertEqual(sink.got, list(range(load.sent)), "in order, each once")
        self.assertEqual(self.lab.halfpoll("xdp", "show", "--json").stdout.count('"file"'), 0, "the last change took it off")

    def test_sampler(self):
        path = self.lab.folder / "samples.pcapng"
        self.attach("lan", "sampler", f"file {path} 1000000\nevery 5\nbytes 64\nmatch dst {WAN.host4}\nmatch protocol 1\n")
        ping(self.client, WAN.host4, count=50, interval=0.005)
        ping(self.client, ALT.host4, count=5, interval=0.005)
        self.assertEqual(self.figures("lan")["sampled"], 10)
        self.lab.halfpoll("xdp", "detach", "lan")  # closes the file
        with PcapNgReader(str(path)) as file:
            frames = list(file)
        self.assertEqual([f[ICMP].seq for f in frames], list(range(1, 51, 5)))
        self.assertEqual([(len(f), f.wirelen) for f in frames], [(64, 98)] * 10)
        self.assertLess(abs(float(frames[-1].time) - time.time()), 30)
