// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "apps/halfpoll/host/host.hpp"

#include <optional>
#include <string>
#include <vector>

namespace halfpoll
{

/// What a PCI device was before pci_bind(). Kept in /run/halfpoll-bind, which a reboot empties, as it undoes the
/// binding; not below a service's runtime directory, which goes when the service stops.
struct bind_record {
    std::string address;
    std::string driver;          ///< empty: none
    std::string driver_override; ///< empty: none
    std::vector<std::string> interfaces;
};

void store_record(host &on, const bind_record &record);
/// Absent: nobody remembers.
std::optional<bind_record> load_record(const host &on, const std::string &address);
void remove_record(host &on, const std::string &address) noexcept;
/// The device that an interface belonged to; empty: not known.
std::string recorded_address(const host &on, const std::string &ifname);

} // namespace halfpoll
