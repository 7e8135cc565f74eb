# SPDX-License-Identifier: BSD-3-Clause
"""Routes with several next hops: flows are shared by weight, keep their next hop, and leave only a lost one."""

import time
import unittest

from lab import FAR4, FAR4_NET, FAR6, FAR6_NET, KERNEL, NETWORKS, Lab, wait_for
from traffic import WINDOW, Sink, Stream, ping, wait_ping

LAN, WAN, ALT = NETWORKS["lan"], NETWORKS["wan"], NETWORKS["alt"]
PORT = 7100
FLOWS = 1500
# ip option, far address, its network, next hop at server, at backup, source
FAMILIES = (("-4", FAR4, FAR4_NET, WAN.host4, ALT.host4, LAN.host4), ("-6", FAR6, FAR6_NET, WAN.host6, ALT.host6, LAN.host6))


class Multipath(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab(start=False)
        cls.client, cls.server, cls.router, cls.backup = cls.lab.client, cls.lab.server, cls.lab.router, cls.lab.backup
        cls.router.sysctl(ipv4__fib_multipath_hash_policy=1, ipv6__fib_multipath_hash_policy=1)  # ports count
        cls.lab.start()
        cls.lab.configure()
        for address in (WAN.host4, WAN.host6, ALT.host4, ALT.host6):
            wait_ping(cls.router, address, 5)

    @classmethod
    def tearDownClass(cls):
        cls.lab.stop()

    def tearDown(self):
        for family, _, net, *_ in FAMILIES:
            self.router.ip(family, "route", "flush", net)

    def share(self, family, net, wan, alt, weights):
        self.router.ip(family, "route", "replace", net, "nexthop", "via", wan, "weight", weights[0], "nexthop", "via", alt,
                       "weight", weights[1])
        for hop in (wan, alt):
            wait_ping(self.router, hop, 3)
        if not KERNEL:
            wait_for("both members are used", lambda: self.members(net.split("/")[0]) == 2, 3)

    def where(self, far, source):
        """Returns whether server or backup gets each flow (source port). All datagrams of a flow must go to one of
        them."""
        with Sink(self.server, far, PORT) as one, Sink(self.backup, far, PORT) as two:
            def arrived():
                return len(one.got) + len(two.got)
            for sent in range(2 * FLOWS):
                flow = sent % FLOWS
                wait_for("what was sent arrives", lambda n=sent: n - arrived() < WINDOW, step=0.001)
                with self.client.udp(source, 20000 + flow) as s:
                    s.sendto(flow.to_bytes(8, "big"), (far, PORT))
            wait_for("all arrive", lambda: arrived() == 2 * FLOWS)
        at = {"server": set(one.got), "backup": set(two.got)}
        self.assertFalse(at["server"] & at["backup"], "a flow went both ways")
        return {flow: name for name, flows in at.items() for flow in flows}

    def test_flows_are_shared_by_weight_and_stay(self):
        for family, far, net, wan, alt, source in FAMILIES:
            for weights in ((1, 1), (3, 1)):
                with self.subTest(f"{family} {weights}"):
                    self.share(family, net, wan, alt, weights)
                    flows = self.where(far, source)
                    wanted = weights[0] / sum(weights)
                    # The buckets are exact, but flows fall into them by chance: 5 standard deviations of a coin.
                    allowed = 5 * (wanted * (1 - wanted) / len(flows)) ** 0.5
                    part = sum(at == "server" for at in flows.values()) / len(flows)
                    self.assertAlmostEqual(part, wanted, delta=allowed)

    @unittest.skipIf(KERNEL, "the kernel moves flows of others too")
    def test_a_lost_member_moves_only_its_flows(self):
        """The flows of the other member stay there and lose nothing. When the lost member returns, it gets its share of
        all flows; which flows move is not specified."""
        for family, far, net, wan, alt, source in FAMILIES:
            with self.subTest(family):
                self.share(family, net, wan, alt, (1, 1))
                before = self.where(far, source)
                staying = next(flow for flow, at in before.items() if at == "backup")
                with Sink(self.backup, far, PORT) as sink:
                    with Stream(self.client, source, (far, PORT), 500, 20000 + staying, sinks=[sink]) as stream:
                        self.lab.host_down(WAN)
                        wait_for("no carrier on wan0", lambda: not self.lab.carrier("wan0"), 3)
                        wait_for("only the other member is used", lambda f=far: self.members(f) == 0, 3)
                        gone = stream.sent
                        wait_for("datagrams arrive without it", lambda n=gone: len(sink.got) > n + 100)
                    wait_for("what was sent arrives", lambda: len(sink.got) >= stream.sent)
                self.assertEqual(sink.got, list(range(stream.sent)), "the other member's flow was not touched")
                self.lab.host_up(WAN)
                wait_for("carrier on wan0", lambda: self.lab.carrier("wan0"), 3)
                ping(self.router, wan)
                wait_for("both members are used again", lambda f=far: self.members(f) == 2, 5)
                after = list(self.where(far, source).values())
                self.assertAlmostEqual(after.count("server") / FLOWS, 0.5, delta=5 * (0.25 / FLOWS) ** 0.5)

    def members(self, far):
        return len(self.lab.show_route(far).get("members", []))

    @unittest.skipIf(KERNEL, "about halfpoll")
    def test_neighbours_in_use_stay_fresh(self):
        """The kernel does not see forwarded packets. The mirror reports use of a neighbour to it, so the kernel probes
        the neighbour from time to time."""
        self.router.sysctl(ipv4__neigh__wan0__base_reachable_time_ms=1000, ipv4__neigh__wan0__delay_first_probe_time=1)
        self.router.ip("neigh", "flush", "dev", "wan0") # its timer still has the old setting
        self.router.ip("route", "add", FAR4_NET, "via", WAN.host4)
        wait_ping(self.client, FAR4, 3)
        with Sink(self.server, FAR4, PORT) as sink, Stream(self.client, LAN.host4, (FAR4, PORT), 100,
                                                                  sinks=[sink]) as stream:
            ages = []
            begin = time.monotonic()
            while time.monotonic() < begin + 20:
                time.sleep(0.25)
                entry = self.router.ip_json("-s", "neigh", "show", WAN.host4, "dev", "wan0")[0]
                self.assertNotIn(entry["state"][0], ("FAILED", "INCOMPLETE"))
                if time.monotonic() > begin + 10: # ignores confirmations from before this traffic
                    ages.append(entry["confirmed"])
        wait_for("what was sent arrives", lambda: len(sink.got) >= stream.sent, 3)
        self.assertEqual(sink.got, list(range(stream.sent)))
        self.assertLess(max(ages), 12, "it is asked every few seconds")
        self.assertGreater(max(ages), 0)
