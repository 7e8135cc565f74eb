// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <string>

namespace halfpoll
{

/// "0000:01:00.0", the form that DPDK and sysfs use.
bool is_pci_address(const std::string &device);

/// Throws device_absent, with the remedy, if there is no such device or its kernel driver keeps it from DPDK.
void require_pci_device(const std::string &address, const std::string &sysfs = "/sys/bus/pci/devices");

/// The interrupt vectors that the device uses now; without MSI none are told.
struct pci_interrupts {
    unsigned vectors = 1;
    bool msix = false;
};
pci_interrupts pci_interrupts_of(const std::string &address, const std::string &sysfs = "/sys/bus/pci/devices");

/// The device's driver in DPDK gets rx interrupts by MSI, but not by the MSI-X that it has.
bool pci_prefers_msi(const std::string &address, const std::string &sysfs = "/sys/bus/pci/devices");

} // namespace halfpoll
