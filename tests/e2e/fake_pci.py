# SPDX-License-Identifier: BSD-3-Clause
"""A made-up /sys with a NIC on a PCI bus, for `halfpoll … --root`. /proc is the real one, except for
/proc/interrupts."""

import os
import pathlib
import shutil

NIC = "0000:03:00.0"


class FakePci:
    """Makes the PCI device NIC in IOMMU group 7, bound to `driver`, with interface `ifname` if that is given."""

    def __init__(self, folder, driver="vfio-pci", ifname=None):
        self.root = pathlib.Path(folder)
        self.device = self.root / "sys/bus/pci/devices" / NIC
        for name in ("vfio-pci", "igb"):
            self.put(f"sys/bus/pci/drivers/{name}/bind")
            self.put(f"sys/bus/pci/drivers/{name}/unbind")
        self.put("sys/bus/pci/drivers_probe")
        self.put("sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "N")
        self.put("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never")
        self.put("sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "512")
        self.put("sys/devices/system/cpu/isolated", "0-1023")
        for file, text in (("class", "0x020000"), ("numa_node", "-1"), ("driver_override", "(null)"), ("sriov_numvfs", "0")):
            self.put(f"sys/bus/pci/devices/{NIC}/{file}", text)
        self.link(f"sys/kernel/iommu_groups/7/devices/{NIC}", f"../../../../bus/pci/devices/{NIC}")
        self.link(f"sys/bus/pci/devices/{NIC}/iommu_group", "../../../../kernel/iommu_groups/7")
        self.bind(driver)
        if ifname:
            (self.device / "net" / ifname).mkdir(parents=True)
            self.link(f"sys/class/net/{ifname}/device", f"../../../bus/pci/devices/{NIC}")
        for file in ("vfio", "7"):
            self.put(f"dev/vfio/{file}")
        self.link("dev/net", "/dev/net")
        self.put("proc/interrupts", " 25:  0  IR-PCI-MSI 262144-edge  eth0")
        self.link_processes()

    def link_processes(self):
        """Links the present entries of /proc."""
        for name in os.listdir("/proc"):
            if name != "interrupts":
                self.link(f"proc/{name}", f"/proc/{name}")

    def put(self, file, text=""):
        path = self.root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="ascii")

    def link(self, file, target):
        path = self.root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(target)

    def erase(self, file):
        path = self.root / file
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()

    def bind(self, driver):
        self.link(f"sys/bus/pci/devices/{NIC}/driver", f"../../drivers/{driver}")
