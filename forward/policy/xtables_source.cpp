// SPDX-License-Identifier: BSD-3-Clause
#include "xtables_source.hpp"

#include "policy.hpp"
#include "xtables_chains.hpp"

#include <cerrno>
#include <cstdint>
#include <sstream>
#include <string>
#include <sys/socket.h>
#include <vector>

namespace halfpoll
{

namespace
{

struct xtables_command {
    std::uint8_t family;
    const char *name;
    const char *table_names; ///< in /proc/net: the tables that exist
};
constexpr xtables_command commands[] = {{AF_INET, "iptables", "ip_tables_names"},
                                        {AF_INET6, "ip6tables", "ip6_tables_names"}};
constexpr std::size_t names_size = 4096;

std::string table_names(const xtables_command &command)
{
    try {
        return read_proc_net(command.table_names, names_size).value_or("");
    } catch (const error &e) {
        throw error(std::string(e.what()) + " (group root may read it)");
    }
}

/// The chains of all tables, each as "filter FORWARD". Throws `error`.
std::vector<std::string> chains_of(const xtables_command &command)
{
    const owned_fd socket(::socket(command.family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (socket.get() < 0 && errno == EAFNOSUPPORT) {
        return {};
    }
    if (socket.get() < 0) {
        throw_errno(errno, "socket");
    }
    const xtables_chains kernel(command.family, socket.get());
    std::vector<std::string> chains;
    if (kernel.supported()) {
        std::istringstream names(table_names(command));
        for (std::string table; names >> table;) {
            for (const std::string &chain : kernel.of_table(table)) {
                chains.push_back(table + " " + chain);
            }
        }
    }
    return chains;
}

/// A family whose tables cannot be known is a reason, too.
void add_reasons(const xtables_command &command, std::vector<policy_reason> &reasons)
{
    const auto add = [&](const std::string &text) { reasons.push_back({.family = command.family, .text = text}); };
    try {
        for (const std::string &chain : chains_of(command)) {
            add(std::string(command.name) + " " + chain);
        }
    } catch (const error &e) {
        add(std::string(command.name) + ": " + e.what());
    }
}

} // namespace

xtables_source::xtables_source(policy &policies, const epoll_set &events, const std::string &netns)
    : policies_(policies), netns_(netns), timer_(events)
{
    process();
}

void xtables_source::process()
{
    if (timer_.due()) {
        try {
            look();
        } catch (const error &e) {
            policies_.doubt(policy_kind::xtables, e.what());
        }
    }
}

void xtables_source::look()
{
    const netns_scope inside = netns_.enter();
    std::vector<policy_reason> reasons;
    for (const xtables_command &command : commands) {
        add_reasons(command, reasons);
    }
    policies_.replace(policy_kind::xtables, std::move(reasons));
}

} // namespace halfpoll
