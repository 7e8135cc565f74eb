// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace halfpoll
{

/// The parts of the kernel that may do more to a forwarded packet than route it.
enum class policy_kind : std::uint8_t {
    rule,    ///< policy routing: `ip rule`
    nft,     ///< nftables
    xtables, ///< iptables and ip6tables with their own tables in the kernel (legacy)
    bpf,     ///< BPF programs as netfilter hooks, at tc, and as XDP programs of a shadow
    xfrm,    ///< IPsec policies
    ipvs,    ///< virtual services
    tc,      ///< queueing disciplines and filters
    sysctl,  ///< settings of the kernel
    count
};

/// The name of a kind in configuration and display.
inline constexpr std::array<std::string_view, static_cast<std::size_t>(policy_kind::count)> policy_kind_names = {
    "rule", "nft", "xtables", "bpf", "xfrm", "ipvs", "tc", "sysctl"};

/// How the text of a reason ends that says only that the kind has not been looked at since the start.
inline constexpr std::string_view policy_not_inspected = ": not inspected yet";

enum class policy_side : std::uint8_t {
    in,  ///< concerns packets that come in by the interface
    out, ///< concerns packets that leave by the interface
};

/// One reason for which packets are left to the kernel. Without an interface it concerns every packet of the family.
struct policy_reason {
    std::uint8_t family = 0; ///< AF_INET, AF_INET6; AF_UNSPEC: both
    policy_side side = policy_side::in;
    int ifindex = 0;    ///< kernel ifindex; 0: see `device`
    std::string device; ///< name of an interface, or its beginning and a '*'; empty, with `ifindex` 0: every interface
    std::string text;   ///< what an administrator would look for: "nft inet filter forward"
    bool operator==(const policy_reason &) const = default;
};

} // namespace halfpoll
