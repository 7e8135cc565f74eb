// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "apps/halfpoll/host/host.hpp"

namespace halfpoll
{

/// A device in /sys/bus/pci/devices.
class pci_device
{
public:
    /// `address` with its domain, "0000:03:00.0".
    pci_device(const host &on, std::string address);

    const std::string &address() const noexcept { return address_; }
    /// Its folder, or a file in it.
    std::string path(const std::string &file = "") const;
    bool exists() const { return on_.exists(path()); }
    /// Empty: none.
    std::string driver() const { return on_.link_name(path("driver")); }
    /// A network controller.
    bool is_network() const { return on_.read(path("class")).starts_with("0x02"); }
    /// Number of its IOMMU group; empty: no IOMMU guards it.
    std::string iommu_group() const { return on_.link_name(path("iommu_group")); }
    /// The other devices of the group that a kernel driver holds. While there are any, vfio refuses the whole group.
    std::vector<pci_device> group_in_kernel() const;
    /// Its interfaces in the kernel, those of a virtio device included.
    std::vector<std::string> interfaces() const;
    /// NUMA node; -1: none, or there is only one.
    int numa_node() const;
    /// For people: "0000:03:00.0 (igb, enp3s0)".
    std::string label() const;

private:
    const host &on_;
    std::string address_;
};

inline constexpr const char *VFIO_PCI = "vfio-pci";

/// "03:00.0" or "0000:03:00.0" with the domain; empty if it is no PCI address.
std::string full_pci_address(const std::string &text);

/// The PCI device below an interface; empty: none.
std::string pci_address_of_interface(const host &on, const std::string &ifname);

} // namespace halfpoll
