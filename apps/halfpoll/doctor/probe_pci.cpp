// SPDX-License-Identifier: BSD-3-Clause
#include "apps/halfpoll/nic/pci_device.hpp"
#include "probe_parts.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace halfpoll
{

namespace
{

/// Drivers of NICs that the kernel and a user-space program drive at the same time, without vfio.
bool is_shared_driver(const std::string &driver) { return driver.starts_with("mlx"); }

bool has_iommu(const host &on) { return !on.list("/sys/kernel/iommu_groups").empty(); }

std::string iommu_remedy(const host &on)
{
    if (on.exists("/sys/firmware/acpi/tables/DMAR")) {
        return "intel_iommu=on iommu=pt on the kernel's command line (Debian: GRUB_CMDLINE_LINUX in /etc/default/grub, "
               "then update-grub), and boot";
    }
    if (on.exists("/sys/firmware/acpi/tables/IVRS")) {
        return "take amd_iommu=off off the kernel's command line (Debian: /etc/default/grub, then update-grub), and "
               "boot";
    }
    return "switch it on in the firmware's set-up (VT-d, AMD-Vi, SMMU; a virtual machine needs a virtual IOMMU), and "
           "boot "
           "with intel_iommu=on or iommu.passthrough=0";
}

/// Without interrupt remapping a device could raise any interrupt, so vfio refuses it. On x86 the names of remapped
/// interrupts begin with "IR-".
void probe_interrupt_remapping(probing &p)
{
    constexpr const char *unsafe = "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts";
    const std::string interrupts = p.on.read("/proc/interrupts");
    const auto has = [&](const char *chip) { return interrupts.find(chip) != std::string::npos; };
    if ((has("IO-APIC") || has("PCI-MSI")) && !has("IR-") && p.on.read(unsafe) != "Y") {
        p.add(severity::stops, "interrupt_remapping", "",
              "the IOMMU does not remap interrupts, so vfio refuses devices",
              "switch it on in the firmware's set-up, take intremap=off off the kernel's command line, or, if the "
              "devices "
              "are to be trusted: echo 1 > " +
                  std::string(unsafe));
    }
}

void probe_group_file(probing &p, const port_config &port, const std::string &group)
{
    const std::string file = "/dev/vfio/" + group;
    const int err = p.on.open_error(file);
    if (err != 0 && err != EBUSY) { // EBUSY: a halfpoll that runs already has it open
        p.add(severity::stops, "vfio_access", port.options.name,
              "cannot open " + file + " (" + std::strerror(err) + ")",
              err == EACCES ? "chown $(id -un) " + file + " (as root), or run halfpoll as root"
                            : "in a container: --device /dev/vfio/vfio --device " + file);
    }
}

void probe_group(probing &p, const port_config &port, const pci_device &device)
{
    std::string others, addresses;
    for (const pci_device &other : device.group_in_kernel()) {
        others += (others.empty() ? "" : ", ") + other.label();
        addresses += " " + other.address();
    }
    if (!others.empty()) {
        p.add(severity::stops, "iommu_group", port.options.name,
              "its IOMMU group " + device.iommu_group() + " holds devices of the kernel too: " + others,
              "halfpoll bind" + addresses + ", or put the card into another slot");
    }
}

} // namespace

void probe_vfio_support(probing &p)
{
    const auto by_vfio = [&](const port_config &port) {
        return port.kind == device_kind::pci && !is_shared_driver(pci_device(p.on, port.device).driver());
    };
    if (std::ranges::none_of(p.cfg.ports, by_vfio)) {
        return;
    }
    if (!has_iommu(p.on)) {
        p.add(severity::stops, "iommu", "", "no IOMMU is in use, and vfio drives no device without one",
              iommu_remedy(p.on));
    } else {
        probe_interrupt_remapping(p);
    }
    std::string missing;
    for (const auto &[module, trace] : {std::pair{"vfio-pci", "/sys/bus/pci/drivers/vfio-pci"},
                                        std::pair{"vfio_iommu_type1", "/sys/module/vfio_iommu_type1"}}) {
        missing += p.on.exists(trace) ? "" : std::string(" ") + module;
    }
    if (!missing.empty()) {
        p.add(severity::stops, "vfio_modules", "", "kernel modules are not loaded:" + missing,
              "modprobe -a" + missing +
                  " (and name them in /etc/modules-load.d/vfio.conf; a kernel without them: "
                  "CONFIG_VFIO_PCI)");
    } else if (const int err = p.on.open_error("/dev/vfio/vfio")) {
        p.add(severity::stops, "vfio_device", "",
              std::string("cannot open /dev/vfio/vfio (") + std::strerror(err) + ")",
              err == EACCES ? "chmod 0666 /dev/vfio/vfio" : "modprobe vfio (in a container: --device /dev/vfio/vfio)");
    }
}

void probe_pci_port(probing &p, const port_config &port)
{
    const pci_device device(p.on, port.device);
    const std::string &name = port.options.name;
    if (!device.exists()) {
        p.add(severity::stops, "pci_device", name, "no PCI device " + port.device, "correct device (see `lspci -D`)");
        return;
    }
    const std::string driver = device.driver();
    if (is_shared_driver(driver)) {
        return;
    }
    const std::string group = device.iommu_group();
    if (driver != VFIO_PCI) {
        p.add(severity::stops, "pci_driver", name,
              "bound to " + (driver.empty() ? "no driver" : driver) + ", not to " + VFIO_PCI,
              "halfpoll bind " + port.device + " (the kernel loses that interface until `halfpoll unbind`)");
    } else if (!group.empty()) {
        probe_group_file(p, port, group);
    }
    if (!group.empty()) {
        probe_group(p, port, device);
    } else if (has_iommu(p.on)) {
        p.add(severity::stops, "iommu", name, "no IOMMU guards this device, so vfio does not drive it",
              iommu_remedy(p.on));
    }
    if (!p.cfg.hugepages) {
        p.add(severity::less, "hugepages_off", name, "few drivers of PCI devices work without hugepages",
              "hugepages = true in [runtime], and sysctl -w vm.nr_hugepages=" + std::to_string(p.cfg.memory_mb / 2));
    }
}

} // namespace halfpoll
