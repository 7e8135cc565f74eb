# SPDX-License-Identifier: BSD-3-Clause
"""The lab of the end-to-end tests with a virtual machine as the router: halfpoll runs in it, on emulated NICs behind a
virtual IOMMU, and a tap connects each NIC to the namespace of a host.

    client  eth0 (tap) -- NIC, lan0  guest  wan0, NIC -- (tap) eth0  server
                                     guest  alt0, NIC -- (tap) eth0  backup
"""

import fcntl
import os
import re
import struct

import lab
from guest import Guest, Nic
from lab import HOSTS, wait_for

CONTROL = "/run/halfpoll/halfpoll.sock"
TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI, IFF_MULTI_QUEUE = 0x0002, 0x1000, 0x0100
VIRTIO = {"disable-legacy": "on", "iommu_platform": True, "mq": True, "vectors": 10, "rss": True}


class Model:
    """The properties of an emulated NIC and of DPDK's driver for it, which the tests check."""

    def __init__(self, device, module, properties=None, rx_queues=1, mode="interrupt", modules=()):
        self.device = (device, properties or {})
        self.module, self.modules = module, (module, *modules)  # the kernel's driver
        self.rx_queues = rx_queues  # over which receive side scaling spreads packets
        self.taps = rx_queues if device.startswith("virtio") else 1  # each virtio queue has a tap queue of its own
        self.mode = mode  # how a queue waits: see `halfpoll show napi`


MODELS = {
    "igb": Model("igb", "igb", rx_queues=4),
    "virtio": Model("virtio-net-pci", "virtio-pci", VIRTIO, rx_queues=4, modules=("virtio_net",)),
    "e1000e": Model("e1000e", "e1000e"),  # with MSI, which halfpoll chooses for it
    "vmxnet3": Model("vmxnet3", "vmxnet3"),
}


def open_tap(namespace, name, queues):
    """Makes a tap in a namespace; returns the file descriptors of its queues. The tap disappears when they are
    closed."""
    flags = IFF_TAP | IFF_NO_PI | (IFF_MULTI_QUEUE if queues > 1 else 0)
    fds = []
    with namespace:
        for _ in range(queues):
            fds.append(os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK))
            fcntl.ioctl(fds[-1], TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    return fds


class NicLab(lab.Lab):
    """The lab on one model of NIC."""

    def __init__(self, model, image, ports=("lan", "wan", "alt"), port_config="", data_cpu=1, machine=None, **more):
        self.model, self.image, self.machine = MODELS[model], image, machine or {}
        self.port_config, self.data_cpu = port_config, data_cpu
        self.runtime_config = ""
        self.nics, self.guest = {}, None
        super().__init__(ports, **more)

    def _build(self):
        for net in self.nets:
            host = self.namespaces[HOSTS[net.name]] = lab.Namespace(f"{self.number}-{HOSTS[net.name]}")
            self.plug(net)
            host.sysctl(ipv6__conf__lo__disable_ipv6=0)
            if net.name != "lan":
                host.ip("addr", "add", lab.FAR4 + "/32", "dev", "lo")
                host.ip("addr", "add", lab.FAR6 + "/128", "dev", "lo", "nodad")
        self.guest = self.namespaces["router"] = Guest(self.folder, self.image, self.nics.values(), **self.machine)
        self.guest.modprobe("tun", "vfio_iommu_type1", "vfio-pci")
        self.guest.sysctl(ipv4__ip_forward=1, ipv6__conf__all__forwarding=1, ipv6__conf__default__accept_dad=0,
                          ipv4__icmp_ratemask=0, ipv6__icmp__ratelimit=0)
        self.bind_nics()

    def bind_nics(self):
        self.addresses = {name: self.guest.bind(nic) for name, nic in self.nics.items()}

    def plug(self, net):
        host = self.namespaces[HOSTS[net.name]]
        fds = open_tap(host, "eth0", self.model.taps)
        self.nics[net.name] = Nic(len(self.nics), self.model.device, net.router_mac, fds)
        host.ip("link", "set", "eth0", "address", net.host_mac)
        self.host_up(net)

    def host_down(self, net):
        """Pulls the cable of a NIC."""
        self.guest.set_link(self.nics[net.name], False)

    def host_up(self, net):
        if self.guest:
            self.guest.set_link(self.nics[net.name], True)
        else:
            super().host_up(net)

    def unplug(self, net):
        """Hot-unplugs a NIC, and waits until the guest has released it."""
        self.guest.unplug(self.nics[net.name])

    def plug_back(self, net):
        """Plugs the NIC in again, and binds it to vfio-pci."""
        nic = self.nics[net.name]
        self.guest.plug(nic)
        wait_for("the guest sees the new NIC", lambda: self.guest.address(nic), 20)
        self.addresses[net.name] = self.guest.bind(nic)

    def config(self):
        text = (f'[runtime]\ncpus = [{self.data_cpu}]\ncontrol = "{CONTROL}"\nhugepages = true\n'
                'memory_mb = 192\nmbufs = 32768\n' + self.runtime_config)
        for net in self.nets:
            text += (f'\n[[port]]\nname = "{net.name}"\ndevice = "{self.addresses[net.name]}"\nshadow = "{net.dev}"\n'
                     + self.port_config)
        return text + self.extra_config

    def start(self, timeout=60):
        self.guest.write("/etc/halfpoll.toml", self.config())
        self.guest.shell("mkdir -p /run/halfpoll; rm -f /run/status; "
                         "(sh -c 'echo $$ >/run/halfpoll.pid; exec halfpoll run /etc/halfpoll.toml' "
                         ">/run/log 2>&1; echo $? >/run/status) &")
        wait_for("halfpoll answers on its control socket", self._serves, timeout)

    def _serves(self):
        if self.guest.shell("[ -e /run/status ]", check=False).returncode == 0:
            status = self.guest.run("cat", "/run/status").stdout.strip()
            raise AssertionError(f"halfpoll ended with status {status}:\n{self.output()}")
        return self.halfpoll("show", "interfaces", check=False).returncode == 0

    def output(self):
        return self.guest.shell("cat /run/log", check=False).stdout

    def halfpoll(self, *args, **more):
        return self.guest.run("halfpoll", *args, "--control", CONTROL, **more)

    def running(self):
        return self.guest.shell("[ ! -e /run/status ] && kill -0 $(cat /run/halfpoll.pid)", check=False).returncode == 0

    def signal(self, number, timeout=20):
        """Sends a signal to halfpoll; returns its exit status as the shell reports it."""
        self.guest.shell(f"kill -{int(number)} $(cat /run/halfpoll.pid)")
        return int(wait_for("halfpoll ends", self._status, timeout))

    def _status(self):
        done = self.guest.shell("cat /run/status", check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    def usage(self, seconds):
        """Returns the share of a CPU and the wake-ups a second of halfpoll's threads over a time, as the guest's kernel
        counts them."""
        look = ("cat /proc/uptime; cat /proc/$p/task/*/schedstat; "
                "grep -h ^voluntary_ctxt_switches /proc/$p/task/*/status; echo; ")
        command = f"p=$(cat /run/halfpoll.pid); {look} sleep {seconds}; {look}"
        parts = self.guest.shell(command, timeout=seconds + 30).stdout.strip().split("\n\n")
        before, after = map(figures, parts)
        uptime, cpu, switches = (b - a for a, b in zip(before, after))
        return cpu / uptime / 1e9, switches / uptime


def figures(text):
    """Parses the output in usage(): uptime (s), CPU time (ns) and voluntary switches."""
    lines = text.splitlines()
    cpu = sum(int(line.split()[0]) for line in lines[1:] if re.match(r"\d+ \d+ \d+$", line))
    switches = sum(int(line.split()[1]) for line in lines[1:] if line.startswith("voluntary"))
    return float(lines[0].split()[0]), cpu, switches
