// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "nft_ruleset.hpp"

#include <cstddef>
#include <cstdint>
#include <linux/netlink.h>
#include <vector>

namespace halfpoll
{

class netlink_socket;

/// One look at nftables: its tables, its chains, and the rules of those chains that seem to have none, between two
/// questions for the number of its generation. Lives until its end.
class nft_inspection
{
public:
    enum class state {
        going_on,
        done,   ///< see consistent() and reasons()
        absent, ///< the kernel lacks nf_tables
    };

    /// Sends the first request. Throws `error`.
    explicit nft_inspection(netlink_socket &socket);
    /// Takes a message that answers the socket's last request. Throws `error` if the kernel refuses or cannot be
    /// understood.
    state take(const nlmsghdr &reply);

    /// After the end: false if the tables changed meanwhile.
    bool consistent() const noexcept { return !interrupted_ && before_ == after_; }
    std::uint32_t generation() const noexcept { return after_; }
    std::vector<policy_reason> reasons() const { return ruleset_.reasons(); }

private:
    enum class step { before, tables, chains, rules, after };
    void request(step next, int type, const nft_chain *chain = nullptr);
    state take_end();
    bool request_rules();

    netlink_socket &socket_;
    step step_ = step::before;
    nft_ruleset ruleset_;
    std::size_t asked_ = 0; ///< number of chains whose rules need no further look
    bool interrupted_ = false;
    std::uint32_t before_ = 0; ///< generation at the beginning
    std::uint32_t after_ = 0;  ///< generation at the end
};

/// The number of the generation in NFT_MSG_NEWGEN, 0 if there is none.
std::uint32_t nft_generation(const nlmsghdr &message);

} // namespace halfpoll
