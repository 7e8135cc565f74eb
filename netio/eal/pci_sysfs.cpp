// SPDX-License-Identifier: BSD-3-Clause
#include "pci_sysfs.hpp"

#include <halfpoll/port.hpp>

#include <filesystem>
#include <fstream>
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
                        driver.starts_with("mlx"); // whose kernel driver shares the device with DPDK
    if (!usable) {
        throw device_absent("PCI device " + address + " is bound to " + (driver.empty() ? "no driver" : driver) +
                            ", not to vfio-pci (dpdk-devbind.py -b vfio-pci " + address + ")");
    }
}

pci_interrupts pci_interrupts_of(const std::string &address, const std::string &sysfs)
{
    namespace fs = std::filesystem;
    pci_interrupts found{.vectors = 0};
    std::error_code none;
    for (const auto &vector : fs::directory_iterator(fs::path(sysfs) / address / "msi_irqs", none)) {
        std::string kind;
        std::ifstream(vector.path()) >> kind;
        found.msix |= kind == "msix";
        ++found.vectors;
    }
    return found.vectors == 0 ? pci_interrupts{} : found;
}

bool pci_prefers_msi(const std::string &address, const std::string &sysfs)
{
    const auto device = std::filesystem::path(sysfs) / address;
    std::string vendor, id;
    std::ifstream(device / "vendor") >> vendor;
    std::ifstream(device / "device") >> id;
    return vendor == "0x8086" && (id == "0x10d3" || id == "0x10f6" || id == "0x150c"); // 82574L, 82574LA, 82583V
}

} // namespace halfpoll
