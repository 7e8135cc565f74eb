# SPDX-License-Identifier: BSD-3-Clause
"""`halfpoll doctor`, `bind` and `unbind` on a machine with NICs, vfio and an IOMMU: requirements are really taken away,
and the effects of `bind` are checked in sysfs."""

import json
import unittest

from lab import NETWORKS, wait_for
from nic_lab import MODELS, NicLab

LAN, WAN = NETWORKS["lan"], NETWORKS["wan"]
MODEL = "igb"


class MachineLab(NicLab):
    """A router with two NICs; halfpoll is not started."""

    def __init__(self, image, kernel_options=(), bind=True):
        self.binds = bind
        super().__init__(MODEL, image, ("lan", "wan"), machine={"kernel_options": kernel_options}, start=False)
        self.guest.write("/etc/halfpoll.toml", self.config())

    def bind_nics(self):
        if self.binds:
            super().bind_nics()
        else:
            self.addresses = {name: self.guest.address(nic) for name, nic in self.nics.items()}

    def doctor(self):
        """Returns the findings by name, without advice."""
        done = self.guest.run("halfpoll", "doctor", "/etc/halfpoll.toml", "--json", check=False)
        reply = json.loads(done.stdout)
        assert done.returncode == int(reply["stops"]), done
        return {f["id"]: f for f in reply["findings"] if f["severity"] != "advice"}

    def driver(self, net):
        """Returns the driver of a port's NIC."""
        link = f"/sys/bus/pci/devices/{self.addresses[net.name]}/driver"
        return self.guest.shell(f"basename $(readlink {link})", check=False).stdout.strip()


class Machine(unittest.TestCase):
    image = None

    def lab_with(self, *kernel_options, **more):
        lab = MachineLab(self.image, kernel_options, **more)
        self.addCleanup(lab.stop)
        return lab

    def test_each_requirement(self):
        lab = self.lab_with()
        shell = lab.guest.shell
        self.assertEqual(lab.doctor(), {})
        pages = shell("cat /proc/sys/vm/nr_hugepages").stdout.strip()
        address = lab.addresses["lan"]
        group = shell(f"basename $(readlink /sys/bus/pci/devices/{address}/iommu_group)").stdout.strip()
        for finding, change, undo in (
                ("hugepages", "echo 0 >/proc/sys/vm/nr_hugepages", f"echo {pages} >/proc/sys/vm/nr_hugepages"),
                ("vfio_modules", "rmmod vfio_iommu_type1", "modprobe vfio_iommu_type1"),
                ("vfio_device", "mv /dev/vfio/vfio /dev/away", "mv /dev/away /dev/vfio/vfio"),
                ("vfio_access", f"mv /dev/vfio/{group} /dev/away", f"mv /dev/away /dev/vfio/{group}"),
                ("pci_driver", f"echo {address} >/sys/bus/pci/drivers/vfio-pci/unbind",
                 f"echo {address} >/sys/bus/pci/drivers/vfio-pci/bind"),
                ("tun", "mv /dev/net/tun /dev/away", "mv /dev/away /dev/net/tun")):
            with self.subTest(finding):
                shell(change)
                self.assertEqual(set(lab.doctor()), {finding})
                shell(undo)
                self.assertEqual(lab.doctor(), {})
        lab.unplug(WAN)
        self.assertEqual({k: f["port"] for k, f in lab.doctor().items()}, {"pci_device": "wan"})

    def test_no_iommu(self):
        lab = self.lab_with("intel_iommu=off", bind=False)  # the last such option counts
        found = lab.doctor()
        self.assertIn("intel_iommu=on", found["iommu"]["remedy"])
        lab.guest.shell(f"modprobe {MODELS[MODEL].module}")
        done = lab.guest.run("halfpoll", "bind", lab.addresses["lan"], check=False)
        self.assertEqual(done.returncode, 1)

    def test_no_interrupt_remapping(self):
        lab = self.lab_with("intremap=off")
        self.assertEqual(set(lab.doctor()), {"interrupt_remapping"})
        lab.guest.shell("echo 1 >/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts")
        self.assertEqual(lab.doctor(), {})
        lab.start()

    def test_bind_and_unbind(self):
        lab = self.lab_with()
        guest, module = lab.guest, MODELS[MODEL].module
        addresses = [lab.addresses["lan"], lab.addresses["wan"]]
        # Another tool has bound them, so there is no record of a driver: any driver that knows the device gets it.
        guest.modprobe(module)
        guest.run("halfpoll", "unbind", *addresses)
        self.assertEqual([lab.driver(n) for n in (LAN, WAN)], [module] * 2)
        self.assertEqual(set(lab.doctor()), {"pci_driver"})
        interface = guest.shell(f"ls /sys/bus/pci/devices/{addresses[0]}/net").stdout.strip()
        guest.ip("link", "set", interface, "up")
        guest.ip("addr", "add", LAN.router4 + "/24", "dev", interface)
        guest.ip("route", "add", "default", "via", LAN.host4)
        done = guest.run("halfpoll", "bind", *addresses, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"{interface} carries the default route", done.stdout)
        self.assertEqual([lab.driver(n) for n in (LAN, WAN)], [module] * 2)
        guest.ip("route", "del", "default")
        for _ in range(2):  # the second time they are bound already
            guest.run("halfpoll", "bind", interface, addresses[1])
            self.assertEqual([lab.driver(n) for n in (LAN, WAN)], ["vfio-pci"] * 2)
        self.assertEqual(lab.doctor(), {})
        lab.start()
        lab.configure()
        busy = guest.run("halfpoll", "unbind", interface, check=False)
        self.assertEqual(busy.returncode, 1)
        self.assertIn("a program has it open", busy.stdout)
        lab.halfpoll("stop")
        wait_for("halfpoll is gone", lambda: not lab.running(), 20)
        for _ in range(2):
            guest.run("halfpoll", "unbind", *addresses)
            self.assertEqual([lab.driver(n) for n in (LAN, WAN)], [module] * 2)
        self.assertIn(interface, guest.shell("ls /sys/class/net").stdout.split())
        self.assertEqual(guest.shell("ls /run/halfpoll-bind").stdout.strip(), "")


def cases(models, image):
    """Yields a test class if its model is in `models`."""
    if MODEL in models:
        yield type(f"{MODEL}.machine", (Machine,), {"image": image, "__module__": "nic"})
