// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "apps/halfpoll/host/host.hpp"

#include <optional>
#include <string>
#include <vector>

namespace halfpoll
{

/// The state of a PCI device before pci_bind(). It is stored in /run/halfpoll-bind, which a reboot empties, just as a
/// reboot undoes the binding. It is not stored below a service's runtime directory, which is removed when the service
/// stops.
struct bind_record {
    std::string address;
    std::string driver;          ///< empty: no driver
    std::string driver_override; ///< empty: no override
    std::vector<std::string> interfaces;
};

void store_record(host &on, const bind_record &record);
/// Absent: there is no record of the device.
std::optional<bind_record> load_record(const host &on, const std::string &address);
void remove_record(host &on, const std::string &address) noexcept;
/// Returns the PCI address of the device that an interface belonged to; empty: unknown.
std::string recorded_address(const host &on, const std::string &ifname);

} // namespace halfpoll
