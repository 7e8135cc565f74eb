// SPDX-License-Identifier: BSD-3-Clause
#include "rule_message.hpp"

#include "attributes.hpp"
#include "forward/tables/ip_text.hpp"

#include <cstdio>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>

namespace halfpoll
{

namespace
{

constexpr std::uint32_t known_flags = FIB_RULE_PERMANENT | FIB_RULE_INVERT | FIB_RULE_UNRESOLVED |
                                      FIB_RULE_IIF_DETACHED | FIB_RULE_OIF_DETACHED | FIB_RULE_FIND_SADDR;

/// The selectors as text, in the order of `ip rule`, which is not that of the attributes.
struct rule_text {
    std::string from, to, tos, mark, iif, oif, user, protocol, sport, dport, tunnel, suppress;
};

std::string hex(std::uint32_t value)
{
    char text[16];
    std::snprintf(text, sizeof text, "0x%x", value);
    return text;
}

std::string table_text(std::uint32_t table)
{
    return table == RT_TABLE_LOCAL     ? "local"
           : table == RT_TABLE_MAIN    ? "main"
           : table == RT_TABLE_DEFAULT ? "default"
                                       : std::to_string(table);
}

std::string protocol_text(std::uint8_t protocol)
{
    return protocol == IPPROTO_TCP ? "tcp" : protocol == IPPROTO_UDP ? "udp" : std::to_string(protocol);
}

/// A range of numbers, which is the payload of an attribute.
template <typename T>
T range_of(const nlattr *attr)
{
    T range{};
    if (mnl_attr_get_payload_len(attr) >= sizeof range) {
        std::memcpy(&range, mnl_attr_get_payload(attr), sizeof range);
    }
    return range;
}

std::string range_text(std::uint32_t first, std::uint32_t last)
{
    return first == last ? std::to_string(first) : std::to_string(first) + "-" + std::to_string(last);
}

std::string ports_text(const nlattr *attr)
{
    const auto range = range_of<fib_rule_port_range>(attr);
    return range_text(range.start, range.end);
}

/// Root of the namespace is, to the kernel, the user of every forwarded packet.
void parse_user(const nlattr *attr, rule_message &rule, rule_text &text)
{
    const auto range = range_of<fib_rule_uid_range>(attr);
    rule.about_others |= range.start != 0;
    text.user = " uidrange " + std::to_string(range.start) + "-" + std::to_string(range.end);
}

/// A mask without a mark selects the packets that have no bit of it.
void parse_mark(std::optional<std::uint32_t> mark, std::optional<std::uint32_t> mask, rule_message &rule,
                rule_text &text)
{
    if (mark || mask) {
        rule.selective = true;
        text.mark = " fwmark " + hex(mark.value_or(0));
        text.mark += mask.value_or(UINT32_MAX) != UINT32_MAX ? "/" + hex(*mask) : "";
    }
}

void parse_interfaces(const nlattr *attr, rule_message &rule, rule_text &text)
{
    const std::string name = get_text(attr);
    if (mnl_attr_get_type(attr) == FRA_OIFNAME) {
        rule.about_others = true;
        text.oif = " oif " + name;
        return;
    }
    rule.iif = name;
    rule.about_others |= name == "lo"; // stands for the packets that the box itself sends
    text.iif = " iif " + name;
}

void parse_suppression(const nlattr *attr, rule_message &rule, rule_text &text)
{
    const std::uint32_t value = get_u32(attr);
    if (value != UINT32_MAX) { // in the message of every rule: -1 if not set
        const bool group = mnl_attr_get_type(attr) == FRA_SUPPRESS_IFGROUP;
        rule.suppresses = true;
        text.suppress += (group ? " suppress_ifgroup " : " suppress_prefixlength ") + std::to_string(value);
    }
}

/// Selectors and values of which nothing but their presence matters.
void parse_other(const nlattr *attr, rule_message &rule, rule_text &text)
{
    switch (mnl_attr_get_type(attr)) {
    case FRA_IP_PROTO:
        text.protocol = " ipproto " + protocol_text(mnl_attr_get_payload_len(attr) > 0 ? mnl_attr_get_u8(attr) : 0);
        rule.selective = true;
        break;
    case FRA_SPORT_RANGE:
        text.sport = " sport " + ports_text(attr);
        rule.selective = true;
        break;
    case FRA_DPORT_RANGE:
        text.dport = " dport " + ports_text(attr);
        rule.selective = true;
        break;
    case FRA_TUN_ID:
        text.tunnel = " tun_id";
        rule.about_others = true;
        break;
    case FRA_PROTOCOL: // who made the rule
    case FRA_FLOW:     // a realm, which tc and counters look at
    case FRA_PAD:
        break;
    default:
        rule.unknown = true;
    }
}

std::string action_text(const rule_message &rule, bool l3mdev)
{
    switch (rule.action) {
    case FR_ACT_TO_TBL:
        return l3mdev ? " lookup [l3mdev-table]" : " lookup " + table_text(rule.table);
    case FR_ACT_GOTO:
        return " goto " + std::to_string(rule.goto_target);
    case FR_ACT_NOP:
        return " nop";
    case FR_ACT_BLACKHOLE:
        return " blackhole";
    case FR_ACT_UNREACHABLE:
        return " unreachable";
    case FR_ACT_PROHIBIT:
        return " prohibit";
    default:
        return " action " + std::to_string(rule.action);
    }
}

std::string prefix_text(const std::optional<ip_addr> &addr, unsigned len)
{
    return addr ? to_string(make_prefix(*addr, len)) : "0/" + std::to_string(len);
}

} // namespace

std::optional<rule_message> parse_rule(const nlmsghdr &message)
{
    const auto *header = header_of<fib_rule_hdr>(message);
    if (!header || !followed(header->family)) {
        return {};
    }
    rule_message rule{.family = header->family, .action = header->action, .table = header->table};
    rule.inverted = (header->flags & FIB_RULE_INVERT) != 0;
    rule.selective = header->src_len != 0 || header->dst_len != 0 || header->tos != 0;
    rule.unknown = (header->flags & ~known_flags) != 0;
    bool l3mdev = false;
    std::optional<ip_addr> from, to;
    std::optional<std::uint32_t> mark, mask;
    rule_text text;
    for_each_attr(message, sizeof *header, [&](const nlattr *attr) {
        switch (mnl_attr_get_type(attr)) {
        case FRA_PRIORITY:
            rule.priority = get_u32(attr);
            break;
        case FRA_TABLE:
            rule.table = get_u32(attr);
            break;
        case FRA_GOTO:
            rule.goto_target = get_u32(attr);
            break;
        case FRA_L3MDEV:
            rule.about_others = l3mdev = true;
            break;
        case FRA_SRC:
            from = get_addr(header->family, attr);
            break;
        case FRA_DST:
            to = get_addr(header->family, attr);
            break;
        case FRA_FWMARK:
            mark = get_u32(attr);
            break;
        case FRA_FWMASK:
            mask = get_u32(attr);
            break;
        case FRA_IIFNAME:
        case FRA_OIFNAME:
            parse_interfaces(attr, rule, text);
            break;
        case FRA_UID_RANGE:
            parse_user(attr, rule, text);
            break;
        case FRA_SUPPRESS_PREFIXLEN:
        case FRA_SUPPRESS_IFGROUP:
            parse_suppression(attr, rule, text);
            break;
        default:
            parse_other(attr, rule, text);
        }
    });
    parse_mark(mark, mask, rule, text);
    text.from = header->src_len != 0 ? " from " + prefix_text(from, header->src_len) : "";
    text.to = header->dst_len != 0 ? " to " + prefix_text(to, header->dst_len) : "";
    text.tos = header->tos != 0 ? " tos " + hex(header->tos) : "";
    rule.text = (rule.inverted ? "not" : "") + text.from + text.to + text.tos + text.mark + text.iif + text.oif +
                text.user + text.protocol + text.sport + text.dport + text.tunnel + action_text(rule, l3mdev) +
                text.suppress + (rule.unknown ? " (and what is not known here)" : "");
    rule.text.erase(0, rule.text.starts_with(' ') ? 1 : 0);
    return rule;
}

} // namespace halfpoll
