// SPDX-License-Identifier: BSD-3-Clause
#include "tc_messages.hpp"

#include "forward/netlink/attributes.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <string_view>

namespace halfpoll
{

namespace
{

/// Those that may drop, delay or mark a packet although the interface is free (tbf, htb, hfsc, netem, cake, red,
/// taprio, …) are not among these, nor are those that nobody knows yet. `noop` drops all, but it cannot be configured.
constexpr std::array<std::string_view, 8> neutral_kinds = {"noqueue", "pfifo_fast",      "pfifo", "bfifo",
                                                           "mq",      "pfifo_head_drop", "fq",    "fq_codel"};

constexpr std::uint32_t unlimited = std::numeric_limits<std::uint32_t>::max();
constexpr std::uint32_t largest_packet = 65536; // bytes

template <typename F>
bool any_nested(const nlattr &nest, F is)
{
    bool any = false;
    for_each_nested(&nest, [&](const nlattr *attr) { any |= is(attr); });
    return any;
}

/// A queue that takes less than a packet drops it even if the interface is free.
bool fifo_acts(const nlattr &options, std::uint32_t least)
{
    tc_fifo_qopt fifo{};
    if (mnl_attr_get_payload_len(&options) >= sizeof fifo) {
        std::memcpy(&fifo, mnl_attr_get_payload(&options), sizeof fifo);
    }
    return fifo.limit < least;
}

/// `fq` can hold each flow to a rate, `fq` and `fq_codel` can mark by delay.
bool options_act(std::string_view kind, const nlattr &options)
{
    if (kind == "pfifo" || kind == "pfifo_head_drop") {
        return fifo_acts(options, 1);
    }
    if (kind == "bfifo") {
        return fifo_acts(options, largest_packet);
    }
    if (kind == "fq") {
        return any_nested(options, [](const nlattr *attr) {
            const std::uint16_t type = mnl_attr_get_type(attr);
            return (type == TCA_FQ_FLOW_MAX_RATE || type == TCA_FQ_CE_THRESHOLD) && get_u32(attr) != unlimited;
        });
    }
    return kind == "fq_codel" && any_nested(options, [](const nlattr *attr) {
               return mnl_attr_get_type(attr) == TCA_FQ_CODEL_CE_THRESHOLD; // is there if it is in force
           });
}

} // namespace

bool qdisc_message::is_neutral() const
{
    return !acts && std::ranges::find(neutral_kinds, kind) != neutral_kinds.end();
}

qdisc_message parse_qdisc(const nlmsghdr &message)
{
    const auto header = copy_header<tcmsg>(message);
    qdisc_message qdisc{.ifindex = header.tcm_ifindex, .handle = header.tcm_handle, .parent = header.tcm_parent};
    const nlattr *options = nullptr;
    for_each_attr(message, sizeof header, [&](const nlattr *attr) {
        switch (mnl_attr_get_type(attr)) {
        case TCA_KIND:
            qdisc.kind = get_text(attr);
            break;
        case TCA_OPTIONS:
            options = attr;
            break;
        case TCA_INGRESS_BLOCK:
            qdisc.ingress_block = get_u32(attr) != 0;
            break;
        case TCA_EGRESS_BLOCK:
            qdisc.egress_block = get_u32(attr) != 0;
            break;
        default:
            break;
        }
    });
    qdisc.acts = options && options_act(qdisc.kind, *options);
    return qdisc;
}

} // namespace halfpoll
