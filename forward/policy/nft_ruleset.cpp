// SPDX-License-Identifier: BSD-3-Clause
#include "nft_ruleset.hpp"

#include <halfpoll/error.hpp>

#include <libmnl/libmnl.h>

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <cstring>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string_view>
#include <sys/socket.h>

namespace halfpoll
{

namespace
{

constexpr std::uint16_t device_prefix = 2; // NFTA_DEVICE_PREFIX, Linux 6.18

template <std::size_t N>
using attributes = std::array<const nlattr *, N>;

template <std::size_t N>
int note_attribute(const nlattr *attr, void *data)
{
    const std::uint16_t type = mnl_attr_get_type(attr);
    if (type < N) {
        (*static_cast<attributes<N> *>(data))[type] = attr;
    }
    return MNL_CB_OK;
}

template <std::size_t N>
attributes<N> attributes_of(const nlmsghdr &message)
{
    attributes<N> found{};
    mnl_attr_parse(&message, sizeof(nfgenmsg), note_attribute<N>, &found);
    return found;
}

std::uint8_t family_of(const nlmsghdr &message)
{
    if (mnl_nlmsg_get_payload_len(&message) < sizeof(nfgenmsg)) {
        throw error("a message without a header");
    }
    return static_cast<const nfgenmsg *>(mnl_nlmsg_get_payload(&message))->nfgen_family;
}

std::uint32_t get_number(const nlattr *attr, std::uint32_t otherwise)
{
    return attr == nullptr || mnl_attr_validate(attr, MNL_TYPE_U32) < 0 ? otherwise : ntohl(mnl_attr_get_u32(attr));
}

std::string_view get_text(const nlattr *attr)
{
    const auto *text = static_cast<const char *>(mnl_attr_get_payload(attr));
    return {text, strnlen(text, mnl_attr_get_payload_len(attr))};
}

std::string get_name(const nlattr *attr)
{
    if (attr == nullptr || get_text(attr).empty()) {
        throw error("a table or chain without a name");
    }
    return std::string(get_text(attr));
}

/// Adds a device's name. Linux 6.16 and 6.17 leave out the zero at the end of a pattern, and give it no type of its
/// own.
int add_device(const nlattr *attr, void *data)
{
    const std::string_view text = get_text(attr);
    const bool pattern = mnl_attr_get_type(attr) == device_prefix || text.size() == mnl_attr_get_payload_len(attr);
    static_cast<std::vector<std::string> *>(data)->push_back(std::string(text) + (pattern ? "*" : ""));
    return MNL_CB_OK;
}

/// A chain without a list of devices is bound to none.
std::vector<std::string> devices_of(const attributes<NFTA_HOOK_MAX + 1> &hook)
{
    std::vector<std::string> devices;
    if (hook[NFTA_HOOK_DEVS] != nullptr) {
        mnl_attr_parse_nested(hook[NFTA_HOOK_DEVS], add_device, &devices);
    } else if (hook[NFTA_HOOK_DEV] != nullptr) {
        add_device(hook[NFTA_HOOK_DEV], &devices);
    }
    return devices;
}

bool at_device(const nft_chain &chain)
{
    return chain.family == NFPROTO_NETDEV || (chain.family == NFPROTO_INET && chain.hook == NF_INET_INGRESS);
}

/// Forwarded packets do not meet the hooks input and output. They do not meet the family arp, since no ARP packet is
/// forwarded, nor bridge: what passes a bridge is the kernel's already, since the members of bridges are.
bool met_by_forwarded(const nft_chain &chain)
{
    switch (chain.family) {
    case NFPROTO_ARP:
    case NFPROTO_BRIDGE:
        return false;
    case NFPROTO_IPV4:
    case NFPROTO_IPV6:
    case NFPROTO_INET:
        return chain.hook != NF_INET_LOCAL_IN && chain.hook != NF_INET_LOCAL_OUT;
    default:
        return true;
    }
}

std::string_view family_name(std::uint8_t family)
{
    switch (family) {
    case NFPROTO_IPV4:
        return "ip";
    case NFPROTO_IPV6:
        return "ip6";
    case NFPROTO_INET:
        return "inet";
    case NFPROTO_NETDEV:
        return "netdev";
    default:
        return "?";
    }
}

policy_reason reason_of(const nft_chain &chain)
{
    policy_reason reason;
    reason.family = chain.family == NFPROTO_IPV4 ? AF_INET : chain.family == NFPROTO_IPV6 ? AF_INET6 : AF_UNSPEC;
    if (chain.family == NFPROTO_NETDEV && chain.hook == NF_NETDEV_EGRESS) {
        reason.side = policy_side::out;
    }
    reason.text = "nft " + std::string(family_name(chain.family)) + " " + chain.table + " " + chain.name;
    return reason;
}

} // namespace

void nft_ruleset::add_table(const nlmsghdr &message)
{
    const std::uint8_t family = family_of(message);
    const auto attr = attributes_of<NFTA_TABLE_MAX + 1>(message);
    if (get_number(attr[NFTA_TABLE_FLAGS], 0) & NFT_TABLE_F_DORMANT) {
        dormant_.emplace(family, get_name(attr[NFTA_TABLE_NAME]));
    }
}

void nft_ruleset::add_chain(const nlmsghdr &message)
{
    nft_chain chain;
    chain.family = family_of(message);
    const auto attr = attributes_of<NFTA_CHAIN_MAX + 1>(message);
    if (attr[NFTA_CHAIN_HOOK] == nullptr) {
        return; // packets come here only from a base chain, by its rules
    }
    attributes<NFTA_HOOK_MAX + 1> hook{};
    mnl_attr_parse_nested(attr[NFTA_CHAIN_HOOK], note_attribute<NFTA_HOOK_MAX + 1>, &hook);
    if (hook[NFTA_HOOK_HOOKNUM] == nullptr) {
        throw error("a base chain without a hook");
    }
    chain.table = get_name(attr[NFTA_CHAIN_TABLE]);
    chain.name = get_name(attr[NFTA_CHAIN_NAME]);
    chain.hook = get_number(hook[NFTA_HOOK_HOOKNUM], 0);
    chain.devices = devices_of(hook);
    chain.accepts = get_number(attr[NFTA_CHAIN_POLICY], NF_DROP) == NF_ACCEPT;
    chain.has_rules = get_number(attr[NFTA_CHAIN_USE], 1) != 0;
    if (met_by_forwarded(chain) && !dormant_.contains({chain.family, chain.table})) {
        chains_.push_back(std::move(chain));
    }
}

std::vector<policy_reason> nft_ruleset::reasons() const
{
    std::vector<policy_reason> reasons;
    for (const nft_chain &chain : chains_) {
        if (chain.accepts && !chain.has_rules) {
            continue;
        }
        policy_reason reason = reason_of(chain);
        if (!at_device(chain)) {
            reasons.push_back(reason);
            continue;
        }
        for (const std::string &device : chain.devices) {
            reason.device = device;
            reasons.push_back(reason);
        }
    }
    return reasons;
}

} // namespace halfpoll
