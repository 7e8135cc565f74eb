// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "apps/halfpoll/host/host.hpp"

namespace halfpoll
{

/// A device in /sys/bus/pci/devices.
class pci_device
{
public:
    /// `address` includes the domain: "0000:03:00.0".
    pci_device(const host &on, std::string address);

    const std::string &address() const noexcept { return address_; }
    /// Returns the device's folder, or a file in it.
    std::string path(const std::string &file = "") const;
    bool exists() const { return on_.exists(path()); }
    /// Returns the name of the driver; empty: none.
    std::string driver() const { return on_.link_name(path("driver")); }
    /// True for a network controller.
    bool is_network() const { return on_.read(path("class")).starts_with("0x02"); }
    /// Returns the number of its IOMMU group; empty: the device is not behind an IOMMU.
    std::string iommu_group() const { return on_.link_name(path("iommu_group")); }
    /// Returns the other devices of its IOMMU group that a kernel driver holds. vfio refuses the whole group while
    /// there are any.
    std::vector<pci_device> group_in_kernel() const;
    /// Returns its interfaces in the kernel, including those of a virtio device.
    std::vector<std::string> interfaces() const;
    /// Returns the NUMA node; -1: none, or the machine has only one.
    int numa_node() const;
    /// Returns a label for people: "0000:03:00.0 (igb, enp3s0)".
    std::string label() const;

private:
    const host &on_;
    std::string address_;
};

inline constexpr const char *VFIO_PCI = "vfio-pci";

/// Returns "03:00.0" or "0000:03:00.0" with the domain, in lower case; empty if the text is not a PCI address.
std::string full_pci_address(const std::string &text);

/// Returns the address of the PCI device below an interface; empty: none.
std::string pci_address_of_interface(const host &on, const std::string &ifname);

} // namespace halfpoll
