// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "policy_reason.hpp"

#include <cstdint>
#include <linux/netlink.h>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace halfpoll
{

/// A base chain of nftables that forwarded packets may meet.
struct nft_chain {
    std::uint8_t family = 0; ///< NFPROTO_*
    std::string table;
    std::string name;
    std::uint32_t hook = 0;
    std::vector<std::string> devices; ///< at ingress and egress: names, or their beginnings and a '*'
    bool accepts = false;             ///< by its policy
    bool has_rules = false;
};

/// What nftables does to forwarded packets, from the messages of its dumps: first all tables, then all chains.
///
/// Their attributes are read with libmnl alone. libnftnl ends the process when an attribute is not what it expects, and
/// the one of Debian 12 rejects chains with patterns of device names (Linux 6.16).
class nft_ruleset
{
public:
    /// NFT_MSG_NEWTABLE. Throws `error` if it cannot be understood.
    void add_table(const nlmsghdr &message);
    /// NFT_MSG_NEWCHAIN. Throws `error` if it cannot be understood.
    void add_chain(const nlmsghdr &message);
    /// The base chains that forwarded packets meet, those of dormant tables left out.
    std::vector<nft_chain> &chains() noexcept { return chains_; }
    std::vector<policy_reason> reasons() const;

private:
    std::set<std::pair<std::uint8_t, std::string>> dormant_; ///< family and name of tables
    std::vector<nft_chain> chains_;
};

} // namespace halfpoll
