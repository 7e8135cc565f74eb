# SPDX-License-Identifier: BSD-3-Clause
"""Cases that need another configuration of the router. They run one after the other, after all other cases, and each
undoes its changes."""

from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.packet import Raw

from engine import link_of
from lab import wait_for
from network import JUMBO, NETS

LAN, WAN = NETS["lan"], NETS["wan"]
SCENARIOS = []
NO_JUMBO = "AF_XDP without multi-buffer sockets takes no frames beyond a page"


def scenario(name, rfc, **options):
    """Registers function(c, network), a generator that sets up, yields to be run and judged, and undoes its changes.
    Options: only=(router, …): the routers it can run on; why=…: the reason."""
    def register(function):
        SCENARIOS.append((name, rfc, function, options))
        return function
    return register


def port_follows(network, name, mtu):
    if network.kind != "kernel":
        wait_for(f"port {name} has MTU {mtu}", lambda: network.interface(name)["mtu"] == mtu)


def settle(network):
    """Waits until halfpoll has applied the configuration: netlink messages are applied in order, and a change of a
    link's MTU is visible."""
    if network.kind == "kernel":
        return
    for mtu in (1499, 1500):
        network.router.ip("link", "set", "dmz0", "mtu", mtu)
        port_follows(network, "dmz", mtu)
    network.reach(NETS["dmz"])


@scenario("rate.icmp4-errors-are-limited", "RFC 1812 4.3.2.8")
def rate4(c, network):
    """A host gets only a few errors for 500 packets that expire at once."""
    network.router.sysctl(ipv4__icmp_ratemask=6168)
    packet = c.ip4(ttl=1, src="10.77.1.70")
    for _ in range(500):
        c.send(packet)
    c.error4(packet, 11, 0)
    c.tolerate(lambda port, f: port == "lan" and f[34] == 11)
    yield
    network.router.sysctl(ipv4__icmp_ratemask=0)
    assert len(c.got) <= 60, f"{len(c.got)} errors for 500 packets"


@scenario("rate.icmp6-errors-are-limited", "RFC 4443 2.4 f")
def rate6(c, network):
    network.router.sysctl(ipv6__icmp__ratemask="0-1,3-127", ipv6__icmp__ratelimit=1000)
    packet = c.ip6(hlim=1, src="fd77:1::70")
    for _ in range(500):
        c.send(packet)
    c.error6(packet, 3, 0)
    c.tolerate(lambda port, f: port == "lan" and f[54] == 3)
    yield
    network.router.sysctl(ipv6__icmp__ratemask="", ipv6__icmp__ratelimit=0)
    assert len(c.got) <= 60, f"{len(c.got)} errors for 500 packets"


@scenario("ip4.broadcast.directed-where-it-is-allowed", "RFC 1812 5.3.5.2")
def directed(c, network):
    """With bc_forwarding, the last router sends a directed broadcast as a broadcast of the link."""
    network.router.sysctl(ipv4__conf__all__bc_forwarding=1, ipv4__conf__lan0__bc_forwarding=1, ipv4__conf__wan0__bc_forwarding=1)
    settle(network)
    packet = c.ip4(dst="10.77.2.255")
    c.send(packet)
    broadcast = bytes.fromhex("ffffffffffff") + link_of("wan", 0x0800)[6:]
    c.want("wan", "a link broadcast", lambda f: None if f[:14] == broadcast and f[22] == 63 else "another frame")
    yield
    network.router.sysctl(ipv4__conf__all__bc_forwarding=0, ipv4__conf__lan0__bc_forwarding=0, ipv4__conf__wan0__bc_forwarding=0)


@scenario("ip4.forwarding-off-on-the-interface", "RFC 1812 2.2.8")
def forwarding4_off(c, network):
    network.router.sysctl(ipv4__conf__lan0__forwarding=0)
    settle(network)
    c.marked, c.late = ("wan", "alt", "dmz"), True  # the echo reply is the last of lan's packets
    c.dropped(c.ip4())
    c.dropped(c.ip4(ttl=1))
    packet = bytes(IP(src=LAN.host4, dst=LAN.router4) / ICMP(id=c.number) / Raw(c.payload()))
    c.send(packet)
    c.want("lan", "the box answers", lambda f: None if f[34] == 0 else "no echo reply")
    yield
    network.router.sysctl(ipv4__conf__lan0__forwarding=1)
    settle(network)


@scenario("ip6.forwarding-off", "RFC 4861 6.2.2")
def forwarding6_off(c, network):
    network.router.sysctl(ipv6__conf__all__forwarding=0)
    settle(network)
    c.dropped(c.ip6())
    c.dropped(c.ip6(hlim=1))
    packet = bytes(IPv6(src=LAN.host6, dst=LAN.router6) / ICMPv6EchoRequest(id=c.number) / Raw(c.payload()))
    c.send(packet)
    c.want("lan", "the box answers", lambda f: None if f[54] == 129 else "no echo reply")
    yield
    network.router.sysctl(ipv6__conf__all__forwarding=1)
    settle(network)


@scenario("ip4.reverse-path.strict-by-all", "RFC 3704")
def strict_by_all(c, network):
    """The larger value of conf/all and the interface counts."""
    network.router.sysctl(ipv4__conf__all__rp_filter=1)
    settle(network)
    c.dropped(c.ip4(src="203.0.113.5"))
    c.passes(c.ip4(src="10.77.1.60"))
    yield
    network.router.sysctl(ipv4__conf__all__rp_filter=0)
    settle(network)


@scenario("ip4.martian-source.the-routers-own-address", "RFC 1812 5.3.8")
def own_source(c, network):
    """With the reverse path check, packets from outside with an address of the router are dropped."""
    network.router.sysctl(ipv4__conf__lan0__rp_filter=1)
    settle(network)
    c.dropped(c.ip4(src=LAN.router4))
    c.dropped(c.ip4(src=WAN.router4))
    yield
    network.router.sysctl(ipv4__conf__lan0__rp_filter=0)
    settle(network)


def set_mtu(network, mtu):
    for name, host in (("lan", network.client), ("wan", network.server)):
        network.router.ip("link", "set", NETS[name].dev, "mtu", mtu)
        host.ip("link", "set", "eth0", "mtu", mtu)
        port_follows(network, name, mtu)
    for name in ("lan", "wan"):
        network.reach(NETS[name])


@scenario("jumbo.ip4", "RFC 791", only=("kernel", "virtio"), why=NO_JUMBO)
def jumbo4(c, network):
    set_mtu(network, JUMBO)
    for size in (2048, 4096, JUMBO - 1, JUMBO):
        c.passes(c.ip4(length=size))
    yield
    set_mtu(network, 1500)


@scenario("jumbo.ip6", "RFC 8200", only=("kernel", "virtio"), why=NO_JUMBO)
def jumbo6(c, network):
    set_mtu(network, JUMBO)
    for size in (2048, 4096, JUMBO - 1, JUMBO):
        c.passes(c.ip6(length=size))
    yield
    set_mtu(network, 1500)


@scenario("jumbo.too-big-for-an-ordinary-link", "RFC 1191, RFC 8201", only=("kernel", "virtio"), why=NO_JUMBO)
def jumbo_too_big(c, network):
    set_mtu(network, JUMBO)
    packet = c.ip4("dmz", length=JUMBO, flags=2)
    c.send(packet)
    c.error4(packet, 3, 4, rest=(1500).to_bytes(4, "big"))
    packet = c.ip6("dmz", length=JUMBO)
    c.send(packet)
    c.error6(packet, 2, 0, rest=(1500).to_bytes(4, "big"))
    yield
    set_mtu(network, 1500)


@scenario("jumbo.echo-of-the-box", "RFC 792, RFC 4443", only=("kernel", "virtio"), why=NO_JUMBO)
def jumbo_box(c, network):
    """The slow path carries frames of several segments in both directions."""
    set_mtu(network, JUMBO)
    packet = bytes(IP(src=LAN.host4, dst=LAN.router4) / ICMP(id=c.number) / Raw(c.payload(JUMBO - 28)))
    c.send(packet)
    c.want("lan", "echo reply", lambda f: None if f[34] == 0 and f[38:] == packet[24:] else "content")
    packet6 = bytes(IPv6(src=LAN.host6, dst=LAN.router6) / ICMPv6EchoRequest(id=c.number) / Raw(c.payload(JUMBO - 48)))
    c.send(packet6)
    c.want("lan", "echo reply", lambda f: None if f[54] == 129 and f[58:] == packet6[44:] else "content")
    yield
    set_mtu(network, 1500)
