# SPDX-License-Identifier: BSD-3-Clause
"""Random configurations of a Linux router and random packets for it. Each function draws from a random.Random, so that
a seed repeats a run."""

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from lab import FAR4, FAR6, NETWORKS

PORTS = tuple(NETWORKS.values())
PREFIXES = {
    4: (
        "198.51.100.0/24",
        "198.51.100.1/32",
        "198.51.0.0/16",
        "203.0.113.0/24",
        "240.1.0.0/16",
        "10.77.2.128/25",
        "default",
    ),
    6: (
        "2001:db8:99::/64",
        "2001:db8:99::1/128",
        "2001:db8::/32",
        "2001:db8:55::/48",
        "fd77:2:0:0:8000::/65",
        "default",
    ),
}
REMOTE = {
    4: (FAR4, "198.51.100.77", "198.51.7.7", "203.0.113.9", "240.1.2.3", "192.0.2.200"),
    6: (FAR6, "2001:db8:99::77", "2001:db8:7::7", "2001:db8:55::9", "2001:db8:ffff::1"),
}
SOURCES = {
    4: ("10.66.0.1", "10.66.1.1", "240.2.0.1", "0.5.0.1", "127.0.0.9", "255.255.255.255", "224.0.0.9"),
    6: ("2001:db8:66::1", "fe80::66", "::1", "ff02::66", "::"),
}
SENDERS = {4: ("10.66.0.0/24", "10.77.1.0/24"), 6: ("2001:db8:66::/64", "fd77:1::/64")}
TCP_PORTS, UDP_PORTS, TOS = (22, 80, 443), (53, 123, 4789), (0, 0, 0, 0x10, 0xB8)


def host(net, family, number=2):
    return f"10.77.{PORTS.index(net) + 1}.{number}" if family == 4 else f"fd77:{PORTS.index(net) + 1}::{number:x}"


# ---- configurations: lists of commands, each for `ip`, `nft` or sysctl ----


def nft_rule(r, family, kind):
    """One rule, in the words of nft. `kind`: type of the chain."""
    word, proto = ("ip", "icmp") if family == 4 else ("ip6", "icmpv6")
    match = r.choice(
        (
            "",
            f"{word} saddr {r.choice(SENDERS[family])} ",
            f"{word} daddr {r.choice(PREFIXES[family][:2])} ",
            f"tcp dport {r.choice(TCP_PORTS)} ",
            f"udp dport {r.choice(UDP_PORTS)} ",
            f"meta l4proto {proto} ",
            f"iifname {r.choice(PORTS).dev} ",
            "ct state new ",
            "ct state established,related ",
        )
    )
    if kind == "dstnat":
        return f"{word} daddr {r.choice(PREFIXES[family][:2])} dnat to {host(r.choice(PORTS), family)}"
    if kind == "srcnat":
        return f"oifname {r.choice(PORTS).dev} masquerade"
    return match + r.choice(
        ("accept", "drop", "drop", "counter", "meta mark set 1") + (("reject",) if kind == "forward" else ())
    )


def nft(r):
    """A table with one base chain."""
    family = r.choice((4, 6))
    table = r.choice(("ip" if family == 4 else "ip6", "inet"))
    kind, chain, policies = r.choice(
        (
            ("forward", "type filter hook forward priority 0", ("accept", "drop")),
            ("prerouting", "type filter hook prerouting priority -300", ("accept", "drop")),
            ("postrouting", "type filter hook postrouting priority 0", ("accept", "drop")),
            ("dstnat", "type nat hook prerouting priority -100", ("accept",)),
            ("srcnat", "type nat hook postrouting priority 100", ("accept",)),
        )
    )
    rules = [nft_rule(r, family, kind) for _ in range(r.choice((0, 1, 1, 2, 3)))]
    return [("nft", f"table {table} t {{ chain c {{ {chain}; policy {r.choice(policies)}; {'; '.join(rules)} ; }} }}")]


def rule(r):
    family = r.choice((4, 6))
    selector = r.choice(
        (
            "iif lo",
            "iif lan0",
            "oif wan0",
            "fwmark 1",
            "ipproto udp",
            "dport 53",
            "tos 0x10" if family == 4 else "ipproto tcp",
            "from 10.66.0.0/16" if family == 4 else "from 2001:db8:66::/64",
            f"to {PREFIXES[family][0]}",
            "from all",
        )
    )
    action = r.choice(
        (
            "lookup 100",
            "lookup 100",
            "lookup default",
            "lookup main",
            "lookup main suppress_prefixlength 0",
            "blackhole",
            "unreachable",
            "prohibit",
        )
    )
    inverted = "not " if r.random() < 0.3 else ""
    return [("ip", f"-{family} rule add pref {r.choice((100, 200, 32766))} {inverted}{selector} {action}")]


def route(r):
    family = r.choice((4, 6))
    where = r.choice(PREFIXES[family])
    kind = r.choice(("unicast",) * 6 + ("blackhole", "unreachable", "prohibit"))
    text = f"-{family} route add {'' if kind == 'unicast' else kind + ' '}{where}"
    if kind == "unicast":
        net = r.choice(PORTS)
        text += f" via {host(net, family)} dev {net.dev}"
    if family == 4 and r.random() < 0.2:
        text += " tos 0x10"
    if family == 6 and kind == "unicast" and r.random() < 0.2:
        text = text.replace(where, f"{where} from 2001:db8:66::/64")
    return [("ip", f"{text} metric {r.choice((10, 20))} table {r.choice(('main', 'main', 'main', '100', 'default'))}")]


def neighbour(r):
    """A next hop that nobody answers for."""
    net, family = r.choice(PORTS), r.choice((4, 6))
    return [("ip", f"neigh del {host(net, family)} dev {net.dev}")]


def setting(r):
    dev = r.choice(PORTS).dev
    return [
        (
            "sysctl",
            *r.choice(
                (
                    ("ipv4__ip_forward", 0),
                    ("ipv6__conf__all__forwarding", 0),
                    (f"ipv4__conf__{dev}__forwarding", 0),
                    (f"ipv4__conf__{dev}__rp_filter", 1),
                    (f"ipv4__conf__{dev}__rp_filter", 2),
                    (f"ipv4__conf__{dev}__accept_local", 1),
                    ("ipv4__ip_default_ttl", 77),
                    (f"ipv6__conf__{dev}__disable_ipv6", 1),
                    (f"ipv4__conf__{dev}__route_localnet", 1),
                )
            ),
        )
    ]


def xfrm(r):
    family = r.choice((4, 6))
    src = r.choice(
        ("10.66.0.0/16", "10.77.1.0/24", "0.0.0.0/0") if family == 4 else ("2001:db8:66::/64", "fd77:1::/64", "::/0")
    )
    return [
        (
            "ip",
            f"xfrm policy add src {src} dst {PREFIXES[family][0]} dir {r.choice(('out', 'fwd', 'in'))} "
            f"action {r.choice(('block', 'allow'))}",
        )
    ]


def filter_(r):
    dev = r.choice(PORTS).dev
    return [
        ("tc", f"qdisc add dev {dev} clsact"),
        (
            "tc",
            f"filter add dev {dev} {r.choice(('ingress', 'egress'))} protocol {r.choice(('ip', 'ipv6', 'all'))} "
            f"matchall action {r.choice(('drop', 'pass'))}",
        ),
    ]


def configuration(r):
    """Two to seven parts; a router without routes would show little."""
    parts = [route, route] + [
        r.choice((nft, nft, rule, rule, route, neighbour, setting, xfrm, filter_))
        for _ in range(r.choice((0, 1, 1, 2, 3, 5)))
    ]
    return [command for part in parts for command in part(r)]


# ---- packets ----


def transport(r, family, number):
    payload = Raw(number.to_bytes(4, "big") + bytes(r.choice((0, 4, 60, 500, 1300))))
    port = 1024 + number % 60000
    return (
        r.choice(
            (
                UDP(sport=port, dport=r.choice(UDP_PORTS)),
                TCP(sport=port, dport=r.choice(TCP_PORTS), flags="S", seq=number),
                (ICMP if family == 4 else ICMPv6EchoRequest)(id=port, seq=1),
            )
        )
        / payload
    )


def packet(r, net, number):
    """A frame that a host on `net` sends. `number` is in its payload."""
    family = r.choice((4, 6))
    link = Ether(
        src=net.host_mac, dst=r.choices((net.router_mac, "ff:ff:ff:ff:ff:ff", "02:77:00:00:77:77"), (20, 1, 1))[0]
    )
    own = host(net, family, r.choice((2, 2, 2, 66)))
    src = r.choices((own, r.choice(SOURCES[family]), r.choice(REMOTE[family])), (12, 3, 1))[0]
    other = r.choice(PORTS)
    dst = r.choices(
        (
            r.choice(REMOTE[family]),
            host(other, family),
            host(other, family, 200),
            other.router4 if family == 4 else other.router6,
            r.choice(
                ("255.255.255.255", "10.77.2.255", "224.0.0.77", "127.0.0.1", "0.9.9.9")
                if family == 4
                else ("ff02::77", "fe80::77", "::1")
            ),
        ),
        (12, 6, 1, 1, 1),
    )[0]
    hops = r.choices((64, 1, 2, 0), (20, 2, 1, 1))[0]
    if family == 4:
        more = {"options": [IPOption_NOP()] * 4} if r.random() < 0.05 else {}
        return (
            link
            / IP(src=src, dst=dst, ttl=hops, tos=r.choice(TOS), id=number & 0xFFFF, flags=r.choice((0, 2)), **more)
            / transport(r, 4, number)
        )
    ip = IPv6(src=src, dst=dst, hlim=hops, tc=r.choice(TOS), fl=number & 0xFFFFF)
    extension = r.choices((None, IPv6ExtHdrHopByHop(), IPv6ExtHdrDestOpt()), (20, 1, 1))[0]
    return link / (ip / extension if extension else ip) / transport(r, 6, number)
