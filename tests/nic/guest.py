# SPDX-License-Identifier: BSD-3-Clause
"""A virtual machine with emulated NICs, in software emulation: QEMU, its monitor, and the agent that runs commands in
the guest (see init)."""

import base64
import contextlib
import json
import os
import pathlib
import re
import shlex
import socket
import subprocess
import threading
import time

QEMU = "qemu-system-x86_64"
BOOT_SECONDS = 120
FIRST_ROOT_PORT = 0x10  # slot of the first NIC's root port on the root bus
KERNEL_OPTIONS = ("console=ttyS0 loglevel=4 panic=-1 hugepagesz=2M hugepages=128 no_timer_check nokaslr "
                  "mitigations=off nowatchdog tsc=reliable random.trust_cpu=on intel_iommu=on iommu=nopt")


class GuestEnded(AssertionError):
    """QEMU or the guest's kernel has ended."""


class Line:
    """One end of a socket pair, read by lines and by lengths; QEMU has the other end."""

    def __init__(self):
        self.here, self.there = socket.socketpair()
        self.data = b""

    def send(self, data):
        self.here.sendall(data)

    def _more(self, end):
        self.here.settimeout(max(0.001, end - time.monotonic()))
        try:
            more = self.here.recv(1 << 16)
        except (socket.timeout, ConnectionResetError) as e:
            raise GuestEnded(f"the guest does not answer: {e}") from None
        if not more:
            raise GuestEnded("QEMU closed the line")
        self.data += more

    def read_line(self, end):
        while b"\n" not in self.data:
            self._more(end)
        line, self.data = self.data.split(b"\n", 1)
        return line.decode(errors="replace").strip()

    def read(self, length, end):
        while len(self.data) < length:
            self._more(end)
        data, self.data = self.data[:length], self.data[length:]
        return data.decode(errors="replace")

    def close(self):
        self.here.close()
        self.there.close()


class Nic:
    """An emulated NIC on a root port of its own, connected to open tap file descriptors."""

    def __init__(self, number, device, mac, fds):
        self.number, self.fds = number, fds
        self.id, self.netdev, self.port = f"nic{number}", f"net{number}", f"port{number}"
        self.properties = {"driver": device[0], "netdev": self.netdev, "mac": mac, "bus": self.port, "id": self.id,
                           **device[1]}

    def arguments(self):
        fds = f"fd={self.fds[0]}" if len(self.fds) == 1 else "fds=" + ":".join(map(str, self.fds))
        port = f"pcie-root-port,id={self.port},chassis={self.number + 1},addr={FIRST_ROOT_PORT + self.number:#x}"
        return ["-device", port, "-netdev", f"tap,id={self.netdev},vhost=off,{fds}",
                "-device", json.dumps(self.properties)]


class Guest:
    """Boots on construction; stop() ends it. run() is used like lab.run(), and ip() like Namespace.ip()."""

    def __init__(self, folder, image, nics, accel="tcg,thread=multi", cpus=2, options=(),
                 kernel_options=(), patience=1):
        self.folder, self.nics = pathlib.Path(folder), {n.id: n for n in nics}
        self.agent, self.monitor = Line(), Line()
        self.lock, self.number, self.patience = threading.Lock(), 0, patience
        self.events = []
        self.process = None
        ours = (self.agent.there.fileno(), self.monitor.there.fileno())
        command = ["setpriv", "--pdeathsig", "KILL", QEMU, "-accel", accel, "-cpu", "max", "-smp", str(cpus),
                   "-m", "1024", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-machine", "q35",
                   "-device", "intel-iommu,intremap=on,caching-mode=on",
                   "-chardev", f"file,id=console,path={self.folder}/console", "-serial", "chardev:console",
                   "-chardev", f"socket,id=agent,fd={ours[0]}", "-serial", "chardev:agent",
                   "-chardev", f"socket,id=monitor,fd={ours[1]}", "-mon", "chardev=monitor,mode=control",
                   "-kernel", str(image.kernel), "-initrd", str(image.initrd),
                   "-append", " ".join((KERNEL_OPTIONS, *kernel_options)), *options]
        for nic in nics:
            command += nic.arguments()
        (self.folder / "qemu.command").write_text(shlex.join(command) + "\n", encoding="utf-8")
        with open(self.folder / "qemu.log", "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            pass_fds=(*ours, *(fd for n in nics for fd in n.fds)))
        try:
            self._greet()
        except BaseException:
            self.stop()
            raise

    def _greet(self):
        end = time.monotonic() + BOOT_SECONDS * self.patience
        try:
            self.agent.there.close()
            self.monitor.there.close()
            assert "QMP" in json.loads(self.monitor.read_line(end)), "no greeting of QEMU's monitor"
            self.qmp("qmp_capabilities")
            while self.agent.read_line(end) != "ready":
                pass
        except GuestEnded as e:
            raise GuestEnded(f"the guest does not start: {e}\n{self.words()}") from None

    def words(self):
        """Returns the last messages of QEMU and of the guest's kernel."""
        said = []
        for name in ("qemu.log", "console"):
            with contextlib.suppress(FileNotFoundError):
                said += (self.folder / name).read_text(encoding="utf-8", errors="replace").splitlines()[-30:]
        return "\n".join(said)

    def qmp(self, command, timeout=10, **arguments):
        """Sends a command to QEMU's monitor; returns the reply."""
        self.monitor.send(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        end = time.monotonic() + timeout
        while True:
            message = json.loads(self.monitor.read_line(end))
            if "event" in message:
                self.events.append(message)
                continue
            assert "return" in message, f"QEMU refuses {command} {arguments}: {message}"
            return message["return"]

    def wait_event(self, wanted, timeout):
        """Waits for an event of QEMU's monitor for which wanted(event) is true."""
        end = time.monotonic() + timeout
        while True:
            for event in self.events:
                if wanted(event):
                    self.events.remove(event)
                    return event
            self.events.append(json.loads(self.monitor.read_line(end)))

    def shell(self, command, check=True, timeout=60):
        """Runs shell commands in the guest, like lab.run()."""
        with self.lock:
            self.number += 1
            timeout *= self.patience
            text = base64.b64encode(command.encode()).decode()
            self.agent.send(f"{self.number} {timeout} {text}\n".encode())
            end = time.monotonic() + timeout + 10
            try:
                line = self.agent.read_line(end)
                answer = re.fullmatch(rf"{self.number} (\d+) (\d+)", line)
                if not answer:
                    raise GuestEnded(f"an answer that is none: {line!r} {self.agent.data!r}")
                done = subprocess.CompletedProcess(command, int(answer[1]), self.agent.read(int(answer[2]), end))
            except GuestEnded as e:
                raise GuestEnded(f"{command}: {e}\n{self.words()}") from None
        if check and done.returncode:
            raise AssertionError(f"in the guest: {command}: exit status {done.returncode}\n{done.stdout}")
        return done

    def run(self, *args, **more):
        return self.shell(shlex.join(map(str, args)), **more)

    def ip(self, *args, **more):
        return self.run("/usr/bin/ip", *args, **more).stdout

    def ip_json(self, *args):
        return json.loads(self.ip("-j", *args) or "[]")

    def write(self, path, text):
        data = base64.b64encode(text.encode()).decode()
        self.shell(f"echo {data} | base64 -d >{shlex.quote(path)}")

    def sysctl(self, **settings):
        self.shell("".join(f"echo {value} >/proc/sys/net/{key.replace('__', '/')}\n"
                           for key, value in settings.items()))

    def modprobe(self, *modules):
        self.shell("".join(f"modprobe {m} || exit 1\n" for m in modules))

    def address(self, nic):
        """Returns the PCI address of a NIC, from its root port. None: there is no device behind that port."""
        port = f"/sys/bus/pci/devices/0000:00:{FIRST_ROOT_PORT + nic.number:02x}.0/"
        found = re.findall(r"^[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$", self.run("ls", port).stdout, re.M)
        return found[0] if found else None

    def bind(self, nic, driver="vfio-pci"):
        """Binds a NIC to a driver, and returns its PCI address."""
        address = self.address(nic)
        assert address, f"no device behind root port {nic.number}"
        device = f"/sys/bus/pci/devices/{address}"
        self.shell(f"echo {driver} >{device}/driver_override\n"
                   f"[ ! -e {device}/driver ] || echo {address} >{device}/driver/unbind\n"
                   f"echo {address} >/sys/bus/pci/drivers_probe\n"
                   f"[ -e /sys/bus/pci/drivers/{driver}/{address} ]")
        return address

    def set_link(self, nic, up):
        self.qmp("set_link", name=nic.netdev, up=up)

    def unplug(self, nic, timeout=20):
        """Hot-unplugs a NIC: asks the guest for it and waits until the guest has released it."""
        self.qmp("device_del", id=nic.id)
        self.wait_event(lambda e: e["event"] == "DEVICE_DELETED" and e["data"].get("device") == nic.id, timeout)

    def plug(self, nic):
        self.qmp("device_add", **nic.properties)

    def remove(self):
        self.stop()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.agent.close()
        self.monitor.close()
        for nic in self.nics.values():
            while nic.fds:
                os.close(nic.fds.pop())
