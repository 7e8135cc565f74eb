// SPDX-License-Identifier: BSD-3-Clause
#include "pci_device.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <regex>

namespace halfpoll
{

namespace
{

/// True for drivers that may hold devices of a group that vfio uses: they do no DMA of their own.
bool goes_with_vfio(const std::string &driver)
{
    return driver.empty() || driver.starts_with("vfio") || driver == "pci-stub" || driver == "pcieport";
}

} // namespace

pci_device::pci_device(const host &on, std::string address) : on_(on), address_(std::move(address)) {}

std::string pci_device::path(const std::string &file) const
{
    return "/sys/bus/pci/devices/" + address_ + (file.empty() ? "" : "/" + file);
}

std::vector<pci_device> pci_device::group_in_kernel() const
{
    std::vector<pci_device> held;
    for (const std::string &member : on_.list(path("iommu_group/devices"))) {
        pci_device other(on_, member);
        if (member != address_ && !goes_with_vfio(other.driver())) {
            held.push_back(std::move(other));
        }
    }
    return held;
}

std::vector<std::string> pci_device::interfaces() const
{
    std::vector<std::string> names = on_.list(path("net"));
    for (const std::string &child : on_.list(path())) {
        if (child.starts_with("virtio")) {
            std::ranges::copy(on_.list(path(child + "/net")), std::back_inserter(names));
        }
    }
    return names;
}

int pci_device::numa_node() const
{
    const std::string text = on_.read(path("numa_node"));
    return text.empty() ? -1 : std::atoi(text.c_str());
}

std::string pci_device::label() const
{
    const std::string held = driver();
    std::string text = address_ + " (" + (held.empty() ? "no driver" : held);
    for (const std::string &name : interfaces()) {
        text += ", " + name;
    }
    return text + ")";
}

std::string full_pci_address(const std::string &text)
{
    static const std::regex pci("([0-9a-fA-F]{4}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\\.[0-7]");
    if (!std::regex_match(text, pci)) {
        return {};
    }
    std::string address = (text.size() < 12 ? "0000:" : "") + text;
    std::ranges::transform(address, address.begin(), [](unsigned char c) { return std::tolower(c); });
    return address;
}

std::string pci_address_of_interface(const host &on, const std::string &ifname)
{
    // …/0000:00:03.0, or …/0000:00:03.0/virtio2: takes the last component that is a PCI address.
    std::string address;
    for (const auto &part : std::filesystem::path(on.resolve("/sys/class/net/" + ifname + "/device"))) {
        if (part.string().size() == 12 && !full_pci_address(part).empty()) {
            address = part;
        }
    }
    return address;
}

} // namespace halfpoll
