// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/port.hpp>

#include <rte_flow.h>

#include <array>
#include <cstdint>
#include <map>

namespace halfpoll
{

/// The DPDK flow rule that brings one flow to one queue. It contains pointers into itself, so it cannot be copied or
/// moved.
class ethdev_flow_rule
{
public:
    ethdev_flow_rule(const flow_tuple &flow, std::uint16_t queue);
    ethdev_flow_rule(const ethdev_flow_rule &) = delete;
    ethdev_flow_rule &operator=(const ethdev_flow_rule &) = delete;

    const rte_flow_attr *attr() const noexcept { return &attr_; }
    const rte_flow_item *pattern() const noexcept { return pattern_.data(); }
    const rte_flow_action *actions() const noexcept { return actions_.data(); }

private:
    void match_addresses(const flow_tuple &flow);
    void match_ports(const flow_tuple &flow);

    rte_flow_attr attr_{};
    rte_flow_item_ipv4 ip4_{}, ip4_mask_{};
    rte_flow_item_ipv6 ip6_{}, ip6_mask_{};
    rte_flow_item_tcp tcp_{}, tcp_mask_{};
    rte_flow_item_udp udp_{}, udp_mask_{};
    rte_flow_action_queue queue_{};
    std::array<rte_flow_item, 4> pattern_{};
    std::array<rte_flow_action, 2> actions_{};
};

/// The rules of one started port. Control thread.
class ethdev_flows
{
public:
    explicit ethdev_flows(std::uint16_t port_id) : id_(port_id) {}
    /// Whether the driver takes such rules, as far as DPDK can tell without creating one.
    bool usable() const noexcept;
    /// Creates a rule and returns its number, or -errno: -ENOSPC if RX_FLOW_FILTERS_MAX rules exist, -EINVAL if the
    /// driver refuses it.
    int steer(const flow_tuple &flow, std::uint16_t queue) noexcept;
    /// Destroys the rule with that number. False: the driver refuses, and the rule stays.
    bool expire(int filter) noexcept;
    /// Destroys all rules, before the port stops.
    void clear() noexcept;

private:
    std::uint16_t id_;
    std::map<int, rte_flow *> rules_; ///< by number
};

} // namespace halfpoll
