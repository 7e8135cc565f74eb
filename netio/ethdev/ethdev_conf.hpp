// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/port.hpp>

#include <rte_ethdev.h>

#include <string>
#include <vector>

namespace halfpoll
{

/// The interrupts that a port is opened with: of rx queues and of the link.
struct ethdev_interrupts {
    bool rxq = false;
    bool lsc = false;
};

/// Makes the configuration of a port from its options and from what its driver can do. Throws `error` that begins with
/// `name` if the driver cannot do what the options need. The configuration points to memory that lives as long as the
/// process.
///
/// Offloads that change the content of a frame, or leave it unfinished, stay off: VLAN tags stay in the frame, received
/// packets are not coalesced, checksums are complete. On all devices alike, the forwarder's vector code verifies and
/// updates checksums.
rte_eth_conf ethdev_conf(const std::string &name, const port_options &options, const rte_eth_dev_info &dev,
                         ethdev_interrupts interrupts);

/// A redirection table (RETA) of `size` entries that spreads evenly over queues 0 to `queues` - 1.
std::vector<rte_eth_rss_reta_entry64> ethdev_reta(unsigned size, unsigned queues);

} // namespace halfpoll
