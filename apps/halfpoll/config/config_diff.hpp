// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "config.hpp"

#include <string>
#include <vector>

namespace halfpoll
{

/// One change that a new configuration makes.
struct config_change {
    enum class sort { added, removed, changed } what = sort::changed;
    std::string where; ///< "port lan", "[runtime]", "[punt.ttl]", "[log]"
    std::string key;   ///< the setting that changes; empty: the port as a whole
    std::string from, to;
};
const char *to_string(config_change::sort what) noexcept;
/// Formats a change: "+ port wan: …", "- port wan: …", "~ [runtime] netdev_budget: 300 -> 600".
std::string to_string(const config_change &change);

/// The changes between two configurations, and how a reload makes them while packets flow.
struct config_diff {
    std::vector<config_change> changes;
    /// Changes that need a restart. If there are any, the reload changes nothing.
    std::vector<config_change> refused;

    // Names of ports; a port is in at most one of these. `replaced`: the port is opened again, or with another device,
    // shadow or number of queues.
    std::vector<std::string> added, removed, replaced, changed;

    bool empty() const noexcept { return changes.empty() && refused.empty(); }
};

/// `shareable`: the packet memory of the running program can be mapped by a vhost-user peer. `backlog_room`: the
/// capacity of the running program's backlogs, in packets.
config_diff diff_config(const config &running, const config &wanted, bool shareable, unsigned backlog_room);

/// Returns the port of that name, or null.
const port_config *find_port(const config &cfg, const std::string &name);
/// True if the port needs packet memory that its peer can map.
bool maps_memory(const port_config &port);

} // namespace halfpoll
