// SPDX-License-Identifier: BSD-3-Clause
#include "pci_device.hpp"

#include <halfpoll/port.hpp>

#include <filesystem>
#include <regex>

namespace halfpoll
{

bool is_pci_address(const std::string &device)
{
    static const std::regex address("[0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\\.[0-7]");
    return std::regex_match(device, address);
}

void require_pci_device(const std::string &address, const std::string &sysfs)
{
    namespace fs = std::filesystem;
    const fs::path device = fs::path(sysfs) / address;
    std::error_code none;
    if (!fs::exists(device, none)) {
        throw device_absent("no PCI device " + address + " (lspci -D)");
    }
    const std::string driver = fs::read_symlink(device / "driver", none).filename();
    const bool usable = driver == "vfio-pci" || driver == "uio_pci_generic" || driver == "igb_uio" ||
                        driver.starts_with("mlx"); // which shares the device with DPDK
    if (!usable) {
        throw device_absent("PCI device " + address + " is bound to " + (driver.empty() ? "no driver" : driver) +
                            ", not to vfio-pci (dpdk-devbind.py -b vfio-pci " + address + ")");
    }
}

} // namespace halfpoll
