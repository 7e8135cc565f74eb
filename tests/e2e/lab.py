# SPDX-License-Identifier: BSD-3-Clause
"""A router with a few hosts, each in a network namespace of its own:

    client  eth0 -- lan0  router  wan0 -- eth0  server
                          router  alt0 -- eth0  backup

The router is halfpoll on AF_XDP, and lan0, wan0, alt0 are its shadow interfaces. To check the tests themselves, the
router can be the kernel (HALFPOLL_E2E_ROUTER=kernel); lan0, wan0, alt0 are then the veth interfaces. Both are
configured with the same `ip` commands. All names contain the process id, and stop() removes everything.
"""

import collections
import contextlib
import ctypes
import itertools
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

KERNEL = os.environ.get("HALFPOLL_E2E_ROUTER", "halfpoll") == "kernel"
PROGRAM = os.path.abspath(os.environ.get("HALFPOLL_PROGRAM", "build/apps/halfpoll/halfpoll"))
BUILD = pathlib.Path(PROGRAM).parents[2]
PREFIX = f"hp-e2e-{os.getpid()}-"
CLONE_NEWNET = 0x40000000
PATIENCE = 10  # conditions may take so many times longer than on an idle machine

_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count()
_labs = []


class Network:
    """Port number N of the router: its network and addresses."""

    def __init__(self, name, number):
        self.name = name
        self.dev = f"{name}0"
        self.port = f"p-{name}"
        self.router4, self.host4 = f"10.77.{number}.1", f"10.77.{number}.2"
        self.router6, self.host6 = f"fd77:{number}::1", f"fd77:{number}::2"
        self.host_mac = f"02:77:00:00:{number:02x}:02"
        self.router_mac = f"02:77:00:00:{number:02x}:01"


# The host behind each port. 198.51.100.1 and 2001:db8:99::1 are on both server and backup, for static routes.
NETWORKS = {"lan": Network("lan", 1), "wan": Network("wan", 2), "alt": Network("alt", 3)}
HOSTS = {"lan": "client", "wan": "server", "alt": "backup"}
FAR4, FAR4_NET = "198.51.100.1", "198.51.100.0/24"
FAR6, FAR6_NET = "2001:db8:99::1", "2001:db8:99::/64"


def run(*command, check=True, timeout=60, **more):
    """Runs a command to its end. Its output is text, and part of the exception if it fails."""
    done = subprocess.run([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=timeout, check=False, **more)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(map(str, command))}: exit status {done.returncode}\n{done.stdout}")
    return done


def wait_for(what, condition, timeout=10, step=0.02):
    """Polls until condition() is true and returns its value. Fails, naming `what`, after PATIENCE times `timeout`
    seconds. Speed is not tested here, because it depends on the other load of the machine: bench/ measures it."""
    timeout *= PATIENCE
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"after {timeout} s: {what}")
        time.sleep(step)


class Namespace:
    """A network namespace that this process makes. `with` moves the calling thread into it; sockets stay in the
    namespace in which they were opened."""

    def __init__(self, name):
        self.name = PREFIX + name
        run("ip", "netns", "add", self.name)
        self.ip("link", "set", "lo", "up")

    def remove(self):
        run("ip", "netns", "del", self.name, check=False)

    def ip(self, *args, **more):
        return run("ip", "-n", self.name, *args, **more).stdout

    def ip_json(self, *args):
        return json.loads(self.ip("-j", *args) or "[]")

    def command(self, *args):
        return ["nsenter", f"--net=/run/netns/{self.name}", "--", *map(str, args)]

    def run(self, *args, **more):
        return run(*self.command(*args), **more)

    def popen(self, *args, **more):
        return subprocess.Popen(self.command(*args), **{"stdin": subprocess.DEVNULL, "text": True, **more})

    def sysctl(self, **settings):
        with self:
            for key, value in settings.items():
                # No newline: for some settings older kernels read the first character only, and reject the rest.
                pathlib.Path("/proc/sys/net", *key.split("__")).write_text(str(value), encoding="ascii")

    def __enter__(self):
        self.home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        with contextlib.closing(_Fd(f"/run/netns/{self.name}")) as there:
            _setns(there.fd)
        return self

    def __exit__(self, *_):
        _setns(self.home)
        os.close(self.home)

    def udp(self, address, port=0, timeout=20.0):
        with self:
            s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        s.settimeout(timeout)
        s.bind((address, port))
        return s

    def tcp(self, address):
        with self:
            s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.settimeout(30)
        return s

    def packets(self, ifname="eth0", timeout=50.0):
        """Opens a packet socket for whole frames of one interface, for sending and capturing."""
        with self:
            s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            s.bind((ifname, 3))
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 20)
        s.settimeout(timeout)
        return s


class _Fd:
    def __init__(self, path):
        self.fd = os.open(path, os.O_RDONLY)

    def close(self):
        os.close(self.fd)


def _setns(fd):
    if _libc.setns(fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


class Lab:
    """The namespaces, and the router between them. stop() removes everything."""

    prefix = ()  # prefix of the command that starts halfpoll, to take privileges from it

    def __init__(self, ports=("lan", "wan", "alt"), config="", start=True, configure=True, kernel=KERNEL):
        _labs.append(self)
        self.kernel = kernel
        self.nets = [NETWORKS[p] for p in ports]
        self.extra_config = config
        self.process = None
        self.log = ""
        self.namespaces = {}
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=PREFIX))
        self.number = next(_numbers)
        try:
            self._build()
            if start:
                self.start()
                if configure:
                    self.configure()
        except BaseException:
            self.stop()
            raise

    def __getattr__(self, name):
        try:
            return self.__dict__["namespaces"][name]
        except KeyError:
            raise AttributeError(name) from None

    def _build(self):
        for name in ("router", *(HOSTS[n.name] for n in self.nets)):
            self.namespaces[name] = Namespace(f"{self.number}-{name}")
        self.router.sysctl(ipv4__ip_forward=1, ipv6__conf__all__forwarding=1, ipv6__conf__default__accept_dad=0,
                           ipv4__icmp_ratemask=0, ipv6__icmp__ratelimit=0)
        for net in self.nets:
            host = self.namespaces[HOSTS[net.name]]
            self.plug(net)
            host.sysctl(ipv6__conf__lo__disable_ipv6=0)
            if net.name != "lan":
                host.ip("addr", "add", FAR4 + "/32", "dev", "lo")
                host.ip("addr", "add", FAR6 + "/128", "dev", "lo", "nodad")

    def plug(self, net):
        """Connects a host to the router by a veth pair, and configures the host."""
        host = self.namespaces[HOSTS[net.name]]
        there = net.dev if self.kernel else net.port
        run("ip", "link", "add", there, "netns", self.router.name, "address", net.router_mac, "type", "veth",
            "peer", "name", "eth0", "netns", host.name, "address", net.host_mac)
        self.router.ip("link", "set", there, "up")
        self.host_up(net)

    def host_up(self, net):
        """Brings a host's interface up, with its addresses and routes: the kernel forgets some of them when the
        interface goes down."""
        host = self.namespaces[HOSTS[net.name]]
        host.ip("link", "set", "eth0", "up")
        host.ip("addr", "replace", net.host4 + "/24", "dev", "eth0")
        host.ip("addr", "replace", net.host6 + "/64", "dev", "eth0", "nodad")
        host.ip("route", "replace", "default", "via", net.router4)
        host.ip("-6", "route", "replace", "default", "via", net.router6, "dev", "eth0")

    def host_down(self, net):
        """Takes a host's interface down. Both ends of the veth lose their carrier, as if the cable were pulled."""
        self.namespaces[HOSTS[net.name]].ip("link", "set", "eth0", "down")

    def config(self):
        """Returns the router's configuration file."""
        text = f'[runtime]\ncpus = [0]\ncontrol = "{self.folder}/control"\n'
        for net in self.nets:
            text += f'\n[[port]]\nname = "{net.name}"\ndevice = "af_xdp:{net.port}"\nshadow = "{net.dev}"\n'
        return text + self.extra_config

    def start(self, timeout=15):
        """Starts the router and waits until it answers on its control socket."""
        if self.kernel:
            return
        path = self.folder / "halfpoll.toml"
        path.write_text(self.config(), encoding="utf-8")
        self.spawn(path)
        wait_for("halfpoll answers on its control socket", self._serves, timeout)

    def _serves(self):
        if self.process.poll() is not None:
            raise AssertionError(f"halfpoll ended with status {self.process.returncode}:\n{self.output()}")
        return self.halfpoll("show", "interfaces", check=False).returncode == 0

    def spawn(self, config):
        out = open(self.folder / f"log.{next(_numbers)}", "w+", encoding="utf-8")
        self.log = pathlib.Path(out.name)
        program = self.program_for_all() if self.prefix else PROGRAM
        self.process = self.router.popen(*self.prefix, program, "run", config, stdout=out, stderr=subprocess.STDOUT)
        out.close()

    def program_for_all(self):
        """Copies the program and its library to a place that every user can reach, and opens the lab's folder to all
        users. The build folder may be below a home of mode 0700, which another user, or root without
        CAP_DAC_OVERRIDE, cannot enter."""
        copy = self.folder / "build" / pathlib.Path(PROGRAM).relative_to(BUILD)
        if not copy.exists():
            copy.parent.mkdir(parents=True)
            for file in (*BUILD.glob("libhalfpoll.so.?"), pathlib.Path(PROGRAM)):  # found by $ORIGIN/../..
                shutil.copy(file, self.folder / "build" / file.relative_to(BUILD))
            run("chmod", "-R", "a+rX", self.folder / "build")
        self.folder.chmod(0o777)
        return copy

    def output(self):
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log else ""

    def configure(self):
        """Configures addresses on the router's interfaces, as an administrator would."""
        for net in self.nets:
            self.router.ip("link", "set", net.dev, "up")
            self.router.ip("addr", "replace", net.router4 + "/24", "dev", net.dev)
            self.router.ip("addr", "replace", net.router6 + "/64", "dev", net.dev, "nodad")
            wait_for(f"carrier on {net.dev}", lambda n=net: self.carrier(n.dev))

    def carrier(self, dev):
        return "LOWER_UP" in self.router.ip_json("link", "show", "dev", dev)[0]["flags"]

    def halfpoll(self, *args, **more):
        """Runs a subcommand of the program against this router."""
        return run(PROGRAM, *args, "--control", f"{self.folder}/control", **more)

    def show(self, what):
        """Returns the rows of a table."""
        return json.loads(self.halfpoll("show", what, "--json").stdout)[what]

    def show_route(self, address):
        return json.loads(self.halfpoll("show", "route", address, "--json").stdout)["route"][0]

    def interface(self, name):
        return next(i for i in self.show("interfaces") if i["name"] == name)

    def drops(self):
        """Returns the drop counters by reason; an absent one counts as zero."""
        return collections.Counter({d["reason"]: d["count"] for d in self.show("drops")})

    def punts(self):
        return collections.Counter({p["class"]: p["punted"] for p in self.show("punt")})

    def left_to_kernel(self):
        """Returns how many packets were left to the kernel to forward: handed to it, or passed inside it."""
        return self.punts()["kernel"] + sum(i["device"]["passed_in"] for i in self.show("interfaces") if "device" in i)

    def signal(self, number, timeout=5 * PATIENCE):
        """Sends a signal to the router and returns its exit status."""
        self.process.send_signal(number)
        return self.process.wait(timeout)

    def stop(self):
        """Removes everything. A router that does not end in time is killed, and stop() then fails."""
        hung = False
        if self.process and self.process.poll() is None:
            try:
                self.signal(signal.SIGTERM)
            except subprocess.TimeoutExpired:
                hung = True
                self.process.kill()
                self.process.wait()
        for namespace in self.namespaces.values():
            namespace.remove()
        self.namespaces = {}
        shutil.rmtree(self.folder, ignore_errors=True)
        if self in _labs:
            _labs.remove(self)
        if hung:
            raise AssertionError(f"halfpoll did not end within {5 * PATIENCE} s of SIGTERM")


def stop_all():
    """Stops all labs at the end of the run, whatever happened before."""
    for lab in list(_labs):
        with contextlib.suppress(Exception):
            lab.stop()


def leftovers():
    """Returns the namespaces with this process's prefix."""
    return [n["name"] for n in json.loads(run("ip", "-j", "netns").stdout or "[]") if n["name"].startswith(PREFIX)]
