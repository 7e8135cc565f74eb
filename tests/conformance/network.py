# SPDX-License-Identifier: BSD-3-Clause
"""The router under test and its surroundings: the lab of the end-to-end tests with a fourth port, routes of every kind,
and, for virtio, TAP interfaces behind vhost-user in place of veth pairs.

    client  eth0 -- lan0  router  wan0 -- eth0  server    behind it: 10.78.N.0/24, fd78:N::/64
                          router  alt0 -- eth0  backup    MTU 1400, strict reverse path check
                          router  dmz0 -- eth0  guest     loose reverse path check
"""

import os
import pathlib
import socket
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))
import lab  # noqa: E402  (lives in e2e/)

lab.PREFIX = f"hp-conf-{os.getpid()}-"
lab.NETWORKS["dmz"] = lab.Network("dmz", 4)
lab.HOSTS["dmz"] = "guest"
PORTS = ("lan", "wan", "alt", "dmz")
NETS = {p: lab.NETWORKS[p] for p in PORTS}

# Third octet of 10.78.N.0/24 and second group of fd78:N::/64.
BEYOND_WAN, BLACKHOLE, UNREACHABLE, PROHIBIT, THROW, ROUTE_MTU, BEYOND_LAN, BEYOND_ALT, BEYOND_DMZ, LOST = range(1, 11)
LAN_GATEWAY4, LAN_GATEWAY6 = "10.77.1.3", "fe80::77:3"
ALT_MTU, MTU_OF_ROUTE = 1400, 1300
JUMBO = 9000
SO_RCVBUFFORCE = 33
CLIENT_ADDRESSES = range(51, 71)  # more source addresses behind lan


def has_vlan():
    """True if the kernel can make VLAN interfaces."""
    name = "hpvlan0"
    made = lab.run("ip", "link", "add", "link", "lo", "name", name, "type", "vlan", "id", 2, check=False)
    lab.run("ip", "link", "del", name, check=False)
    return made.returncode == 0


class Network(lab.Lab):
    """`router`: kernel, af_xdp or virtio. `wire`: the program that carries frames between TAPs and vhost-user
    sockets."""

    def __init__(self, router, wire=None):
        self.kind, self.wire_program, self.wire = router, wire, None
        super().__init__(PORTS)

    def plug(self, net):
        if self.kind != "virtio":
            super().plug(net)
            return
        host = self.namespaces[lab.HOSTS[net.name]]
        host.ip("tuntap", "add", "eth0", "mode", "tap")
        host.ip("link", "set", "eth0", "address", net.host_mac, "mtu", JUMBO)
        self.host_up(net)

    def start(self, timeout=20):
        if self.kind == "virtio":
            ends = [f"{self.socket(n)},{self.namespaces[lab.HOSTS[n.name]].name},eth0" for n in self.nets]
            log = open(self.folder / "wire.log", "w", encoding="utf-8")
            self.wire = subprocess.Popen([self.wire_program, *ends], stdin=subprocess.PIPE, stdout=log, stderr=log)
            log.close()
        super().start(timeout)

    def socket(self, net):
        return self.folder / f"{net.name}.sock"

    def config(self):
        if self.kind != "virtio":
            return super().config()
        text = f'[runtime]\ncpus = [0]\ncontrol = "{self.folder}/control"\n'
        for i, net in enumerate(self.nets):
            text += (f'\n[[port]]\nname = "{net.name}"\nshadow = "{net.dev}"\nmtu = {JUMBO}\n'
                     f'device = "net_virtio_user{i},server=1,mac={net.router_mac},path={self.socket(net)}"\n')
        return text

    def configure(self):
        self.quicken()
        for net in self.nets:
            self.router.ip("link", "set", net.dev, "mtu", ALT_MTU if net.name == "alt" else 1500)
        super().configure()
        for host, net in ((self.namespaces[lab.HOSTS[n.name]], n) for n in self.nets):
            host.sysctl(ipv4__conf__all__accept_redirects=0, ipv4__conf__eth0__accept_redirects=0,
                        ipv6__conf__eth0__accept_redirects=0, ipv6__conf__eth0__accept_ra=0)
            host.ip("link", "set", "eth0", "mtu", 1500)
        for n in CLIENT_ADDRESSES:
            self.client.ip("addr", "add", f"10.77.1.{n}/24", "dev", "eth0")
            self.client.ip("addr", "add", f"fd77:1::{n}/64", "dev", "eth0", "nodad")
        self.client.ip("addr", "add", LAN_GATEWAY4 + "/24", "dev", "eth0")
        self.client.ip("addr", "add", LAN_GATEWAY6 + "/64", "dev", "eth0", "nodad")
        self.routes()
        self.router.sysctl(ipv4__conf__alt0__rp_filter=1, ipv4__conf__dmz0__rp_filter=2)

    def quicken(self):
        """ICMP errors are limited only in cases about the limit; unresolved neighbours fail soon."""
        # Only newer kernels have these.
        for name, value in (("icmp_msgs_per_sec", 1000000), ("icmp_msgs_burst", 1000000)):
            self.sysctl_if_there(f"/proc/sys/net/ipv4/{name}", value)
        self.router.sysctl(ipv4__conf__all__rp_filter=0, ipv6__icmp__ratemask="")
        for net in self.nets:
            dev = net.dev
            self.router.sysctl(**{f"ipv4__conf__{dev}__rp_filter": 0})
            for family in ("ipv4", "ipv6"):
                self.router.sysctl(**{f"{family}__neigh__{dev}__mcast_solicit": 1,
                                      f"{family}__neigh__{dev}__retrans_time_ms": 200})

    def sysctl_if_there(self, path, value):
        with self.router:
            if os.path.exists(path):
                pathlib.Path(path).write_text(f"{value}\n", encoding="ascii")

    def routes(self):
        wan, alt, dmz = (NETS[p] for p in ("wan", "alt", "dmz"))
        for number, kind in ((BLACKHOLE, "blackhole"), (UNREACHABLE, "unreachable"), (PROHIBIT, "prohibit"), (THROW, "throw")):
            self.router.ip("route", "add", kind, f"10.78.{number}.0/24")
            self.router.ip("-6", "route", "add", kind, f"fd78:{number}::/64")
        for number, net in ((BEYOND_WAN, wan), (BEYOND_ALT, alt), (BEYOND_DMZ, dmz)):
            self.router.ip("route", "add", f"10.78.{number}.0/24", "via", net.host4)
            self.router.ip("-6", "route", "add", f"fd78:{number}::/64", "via", net.host6)
        self.router.ip("route", "add", f"10.78.{ROUTE_MTU}.0/24", "via", wan.host4, "mtu", MTU_OF_ROUTE)
        self.router.ip("-6", "route", "add", f"fd78:{ROUTE_MTU}::/64", "via", wan.host6, "mtu", MTU_OF_ROUTE)
        self.router.ip("route", "add", f"10.78.{BEYOND_LAN}.0/24", "via", LAN_GATEWAY4)
        self.router.ip("-6", "route", "add", f"fd78:{BEYOND_LAN}::/64", "via", LAN_GATEWAY6, "dev", "lan0")
        self.router.ip("route", "add", f"10.78.{LOST}.0/24", "via", "10.77.2.99")
        self.router.ip("-6", "route", "add", f"fd78:{LOST}::/64", "via", "fd77:2::99")
        # No default route: other destinations have no route.

    def resolve(self):
        """Makes every neighbour that the cases need known to the router."""
        for net in self.nets:
            self.reach(net)
        for address in (LAN_GATEWAY4, LAN_GATEWAY6 + "%lan0", *(f"10.77.1.{n}" for n in CLIENT_ADDRESSES),
                        *(f"fd77:1::{n}" for n in CLIENT_ADDRESSES)):
            self.router.run("ping", "-n", "-c", 1, "-W", 2, address)

    def reach(self, net):
        """Waits until the host behind a port is a neighbour: a port may be reopened for another MTU."""
        lab.wait_for(f"carrier on {net.dev}", lambda: self.carrier(net.dev))
        for address in (net.host4, net.host6):
            lab.wait_for(f"{address} answers", lambda a=address: self.router.run("ping", "-n", "-c", 1, "-W", 1, a, check=False).returncode == 0)

    def packet_sockets(self):
        sockets = {}
        for net in self.nets:
            s = self.namespaces[lab.HOSTS[net.name]].packets()
            s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
            s.setblocking(False)
            sockets[net.name] = s
        return sockets

    def stop(self):
        try:
            super().stop()
        finally:
            if self.wire:
                self.wire.stdin.close()  # the program ends with its input
                try:
                    self.wire.wait(5)
                except subprocess.TimeoutExpired:
                    self.wire.kill()
                    self.wire.wait()
                self.wire = None
