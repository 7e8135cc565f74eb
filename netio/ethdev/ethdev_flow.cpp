// SPDX-License-Identifier: BSD-3-Clause
#include "ethdev_flow.hpp"

#include <netinet/in.h>

#include <cerrno>
#include <cstring>

namespace halfpoll
{

ethdev_flow_rule::ethdev_flow_rule(const flow_tuple &flow, std::uint16_t queue)
{
    attr_.ingress = 1;
    pattern_[0].type = RTE_FLOW_ITEM_TYPE_ETH;
    match_addresses(flow);
    match_ports(flow);
    pattern_[3].type = RTE_FLOW_ITEM_TYPE_END;
    queue_.index = queue;
    actions_[0] = {.type = RTE_FLOW_ACTION_TYPE_QUEUE, .conf = &queue_};
    actions_[1].type = RTE_FLOW_ACTION_TYPE_END;
}

void ethdev_flow_rule::match_addresses(const flow_tuple &flow)
{
    if (flow.ip6) {
        std::memcpy(&ip6_.hdr.src_addr, flow.src.data(), 16);
        std::memcpy(&ip6_.hdr.dst_addr, flow.dst.data(), 16);
        std::memset(&ip6_mask_.hdr.src_addr, 0xFF, 16);
        std::memset(&ip6_mask_.hdr.dst_addr, 0xFF, 16);
        pattern_[1] = {.type = RTE_FLOW_ITEM_TYPE_IPV6, .spec = &ip6_, .mask = &ip6_mask_};
        return;
    }
    std::memcpy(&ip4_.hdr.src_addr, flow.src.data(), 4);
    std::memcpy(&ip4_.hdr.dst_addr, flow.dst.data(), 4);
    ip4_mask_.hdr.src_addr = ip4_mask_.hdr.dst_addr = UINT32_MAX;
    pattern_[1] = {.type = RTE_FLOW_ITEM_TYPE_IPV4, .spec = &ip4_, .mask = &ip4_mask_};
}

void ethdev_flow_rule::match_ports(const flow_tuple &flow)
{
    if (flow.protocol == IPPROTO_TCP) {
        tcp_.hdr.src_port = flow.sport;
        tcp_.hdr.dst_port = flow.dport;
        tcp_mask_.hdr.src_port = tcp_mask_.hdr.dst_port = UINT16_MAX;
        pattern_[2] = {.type = RTE_FLOW_ITEM_TYPE_TCP, .spec = &tcp_, .mask = &tcp_mask_};
        return;
    }
    udp_.hdr.src_port = flow.sport;
    udp_.hdr.dst_port = flow.dport;
    udp_mask_.hdr.src_port = udp_mask_.hdr.dst_port = UINT16_MAX;
    pattern_[2] = {.type = RTE_FLOW_ITEM_TYPE_UDP, .spec = &udp_, .mask = &udp_mask_};
}

bool ethdev_flows::usable() const noexcept
{
    flow_tuple flow;
    flow.protocol = IPPROTO_UDP;
    flow.src[0] = flow.dst[0] = 192;
    flow.sport = flow.dport = 1;
    const ethdev_flow_rule rule(flow, 0);
    rte_flow_error why{};
    return rte_flow_validate(id_, rule.attr(), rule.pattern(), rule.actions(), &why) == 0;
}

int ethdev_flows::steer(const flow_tuple &flow, std::uint16_t queue) noexcept
{
    int number = 0;
    while (rules_.contains(number)) {
        ++number;
    }
    if (number >= RX_FLOW_FILTERS_MAX) {
        return -ENOSPC;
    }
    const ethdev_flow_rule rule(flow, queue);
    rte_flow_error why{};
    rte_flow *made = rte_flow_create(id_, rule.attr(), rule.pattern(), rule.actions(), &why);
    if (!made) {
        return -EINVAL;
    }
    rules_[number] = made;
    return number;
}

bool ethdev_flows::expire(int filter) noexcept
{
    const auto found = rules_.find(filter);
    rte_flow_error why{};
    if (found != rules_.end() && rte_flow_destroy(id_, found->second, &why) != 0) {
        return false;
    }
    rules_.erase(filter);
    return true;
}

void ethdev_flows::clear() noexcept
{
    rte_flow_error why{};
    if (!rules_.empty() && rte_flow_flush(id_, &why) == 0) {
        rules_.clear();
    }
}

} // namespace halfpoll
