// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <string>

namespace halfpoll
{

/// Whether `device` has the form that DPDK and sysfs use: "0000:01:00.0".
bool is_pci_address(const std::string &device);

/// Throws device_absent, with the remedy, if there is no such device or if its kernel driver does not share it with
/// DPDK.
void require_pci_device(const std::string &address, const std::string &sysfs = "/sys/bus/pci/devices");

/// The interrupt vectors that a device uses at present. sysfs lists those of MSI and MSI-X; without them there is one
/// (INTx).
struct pci_interrupts {
    unsigned vectors = 1;
    bool msix = false;
};
pci_interrupts pci_interrupts_of(const std::string &address, const std::string &sysfs = "/sys/bus/pci/devices");

/// Whether the device's driver in DPDK gets rx interrupts by MSI, but not by the MSI-X that the device also has.
bool pci_prefers_msi(const std::string &address, const std::string &sysfs = "/sys/bus/pci/devices");

} // namespace halfpoll
