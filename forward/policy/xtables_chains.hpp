// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace halfpoll
{

/// Asks the kernel for the tables of iptables (AF_INET) or ip6tables (AF_INET6) by a socket in their namespace.
class xtables_chains
{
public:
    /// `socket`: any internet socket of the family.
    xtables_chains(std::uint8_t family, int socket) : family_(family), socket_(socket) {}
    /// False if the kernel lacks the tables, or has not loaded their module. Throws `error`.
    bool supported() const;
    /// The names of the built-in chains of a table that may do something to forwarded packets: those at a hook that
    /// forwarded packets pass, with a rule or a policy other than ACCEPT. The table must exist: the kernel loads the
    /// module of one that does not. Throws `error`.
    std::vector<std::string> of_table(const std::string &table) const;

private:
    std::uint8_t family_;
    int socket_;
};

} // namespace halfpoll
