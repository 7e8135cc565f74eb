// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "config.hpp"

#include <string>
#include <vector>

namespace halfpoll
{

/// One line of what a new configuration changes.
struct config_change {
    enum class sort { added, removed, changed } what = sort::changed;
    std::string where; ///< "port lan", "[runtime]", "[punt.ttl]", "[log]"
    std::string key;   ///< of a setting that changes; empty: the port as a whole
    std::string from, to;
};
const char *to_string(config_change::sort what) noexcept;
/// "+ port wan: …", "- port wan: …", "~ [runtime] netdev_budget: 300 -> 600".
std::string to_string(const config_change &change);

/// What lies between two configurations, and how it can be bridged while packets flow.
struct config_diff {
    std::vector<config_change> changes;
    /// Changes that need a restart; with one of these nothing may be changed.
    std::vector<config_change> refused;

    // Names of ports, each in one of them. `replaced`: device, shadow or queues change.
    std::vector<std::string> added, removed, replaced, changed;

    bool empty() const noexcept { return changes.empty() && refused.empty(); }
};

/// `shareable`: the program runs with packet memory that a vhost-user peer can map. `backlog_room`: the
/// most that its backlogs hold.
config_diff diff_config(const config &running, const config &wanted, bool shareable, unsigned backlog_room);

/// The port of that name; null if there is none.
const port_config *find_port(const config &cfg, const std::string &name);
/// It needs packet memory that its peer can map.
bool maps_memory(const port_config &port);

} // namespace halfpoll
