// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/port.hpp>

#include <rte_ethdev.h>

#include <string>
#include <vector>

namespace halfpoll
{

/// The interrupts to ask a port for.
struct ethdev_interrupts {
    bool rxq = false;
    bool lsc = false;
};

/// What to ask of a port, from what its driver can do. Throws `error` (that begins with `name`) if it cannot do what
/// the options need. Points to memory that lives as long as the process.
///
/// Offloads that change what is in a frame, or leave it unfinished, stay off: VLAN tags stay where they are, no receive
/// coalescing, no partial checksums. Checksums are verified and updated in the forwarder's vector code on all devices
/// alike.
rte_eth_conf ethdev_conf(const std::string &name, const port_options &options, const rte_eth_dev_info &dev,
                         ethdev_interrupts interrupts);

/// A redirection table of `size` entries that spreads evenly over queues 0 to `queues` - 1.
std::vector<rte_eth_rss_reta_entry64> ethdev_reta(unsigned size, unsigned queues);

} // namespace halfpoll
