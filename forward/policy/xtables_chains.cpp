// SPDX-License-Identifier: BSD-3-Clause
#include "xtables_chains.hpp"

#include <halfpoll/error.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <netinet/in.h>
#include <optional>
#include <sys/socket.h>
#include <utility>

#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>

namespace halfpoll
{

namespace
{

// The requests and their answers are the same for both families, but for the entries.
static_assert(IPT_SO_GET_INFO == IP6T_SO_GET_INFO && IPT_SO_GET_ENTRIES == IP6T_SO_GET_ENTRIES);
static_assert(sizeof(ipt_getinfo) == sizeof(ip6t_getinfo) && sizeof(ipt_get_entries) == sizeof(ip6t_get_entries));

constexpr int attempts = 3; // to read a table that changes meanwhile

/// The hooks that forwarded packets pass. INPUT and OUTPUT are for packets of the box itself.
struct named_hook {
    unsigned number;
    const char *name;
};
constexpr std::array hooks{named_hook{NF_INET_PRE_ROUTING, "PREROUTING"}, named_hook{NF_INET_FORWARD, "FORWARD"},
                           named_hook{NF_INET_POST_ROUTING, "POSTROUTING"}};

int level_of(std::uint8_t family) { return family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6; }

/// Returns 0 or an errno.
int ask(std::uint8_t family, int socket, int what, void *answer, std::size_t size)
{
    auto length = static_cast<socklen_t>(size);
    return getsockopt(socket, level_of(family), what, answer, &length) == 0 ? 0 : errno;
}

bool has(const ipt_getinfo &info, unsigned hook) { return (info.valid_hooks & 1U << hook) != 0; }

/// A chain ends with the rule of its policy, to which the underflow of its hook points.
bool has_rules(const ipt_getinfo &info, unsigned hook) { return info.hook_entry[hook] != info.underflow[hook]; }

/// True if the rule at `offset`, behind the head, accepts every packet. Match: the first field of Entry, which says
/// which packets a rule is for.
template <typename Entry, typename Match>
bool accepts_all(const std::vector<char> &entries, std::size_t offset)
{
    Entry rule;
    xt_standard_target target;
    offset += sizeof(ipt_get_entries);
    if (offset > entries.size() || entries.size() - offset < sizeof rule + sizeof target) {
        return false;
    }
    std::memcpy(&rule, &entries[offset], sizeof rule);
    std::memcpy(&target, &entries[offset + sizeof rule], sizeof target);
    const auto *match = reinterpret_cast<const char *>(&rule);
    const bool every = std::all_of(match, match + sizeof(Match), [](char c) { return c == 0; });
    return every && rule.target_offset == sizeof rule && target.target.u.user.name[0] == '\0' &&
           target.verdict == -NF_ACCEPT - 1;
}

/// True if a chain without rules has the policy ACCEPT.
bool accepts(std::uint8_t family, const std::vector<char> &entries, std::size_t underflow)
{
    return family == AF_INET ? accepts_all<ipt_entry, ipt_ip>(entries, underflow)
                             : accepts_all<ip6t_entry, ip6t_ip6>(entries, underflow);
}

/// None if the table does not exist.
std::optional<ipt_getinfo> info_of(std::uint8_t family, int socket, const std::string &table)
{
    ipt_getinfo info{};
    table.copy(info.name, sizeof info.name - 1);
    const int err = ask(family, socket, IPT_SO_GET_INFO, &info, sizeof info);
    if (err != 0 && err != ENOENT) {
        throw_errno(err, table);
    }
    return err == 0 ? std::optional(info) : std::nullopt;
}

bool same(const ipt_getinfo &a, const ipt_getinfo &b) { return std::memcmp(&a, &b, sizeof a) == 0; }

/// A head and the rules of a table, as the kernel lays them out. None if the table's size is not that of `info` any
/// more.
std::optional<std::vector<char>> entries_of(std::uint8_t family, int socket, const ipt_getinfo &info)
{
    std::vector<char> answer(sizeof(ipt_get_entries) + info.size);
    ipt_get_entries request{};
    std::memcpy(request.name, info.name, sizeof request.name);
    request.size = info.size;
    std::memcpy(answer.data(), &request, sizeof request);
    const int err = ask(family, socket, IPT_SO_GET_ENTRIES, answer.data(), answer.size());
    if (err != 0 && err != EAGAIN && err != ENOENT) {
        throw_errno(err, info.name);
    }
    return err == 0 ? std::optional(std::move(answer)) : std::nullopt;
}

} // namespace

/// Asks with a length that the kernel refuses before it looks for a table.
bool xtables_chains::supported() const
{
    char nothing = 0;
    const int err = ask(family_, socket_, IPT_SO_GET_INFO, &nothing, 0);
    if (err != 0 && err != EINVAL && err != ENOPROTOOPT) {
        throw_errno(err, "tables");
    }
    return err != ENOPROTOOPT;
}

/// Whether a chain has rules, the kernel says in a few bytes. The policy of a chain without rules is among the rules of
/// the table: they are read only if there is such a chain.
std::vector<std::string> xtables_chains::of_table(const std::string &table) const
{
    for (int attempt = 0; attempt < attempts; ++attempt) {
        const auto info = info_of(family_, socket_, table);
        if (!info) {
            return {};
        }
        const auto needs_policy = [&](const named_hook &hook) {
            return has(*info, hook.number) && !has_rules(*info, hook.number);
        };
        std::vector<char> entries;
        if (std::ranges::any_of(hooks, needs_policy)) {
            auto read = entries_of(family_, socket_, *info);
            const auto then = info_of(family_, socket_, table);
            if (!read || !then || !same(*info, *then)) {
                continue; // the rules may be those of another state than `info`
            }
            entries = std::move(*read);
        }
        std::vector<std::string> chains;
        for (const named_hook &hook : hooks) {
            if (has(*info, hook.number) &&
                !(needs_policy(hook) && accepts(family_, entries, info->underflow[hook.number]))) {
                chains.emplace_back(hook.name);
            }
        }
        return chains;
    }
    throw error(table + ": changes while it is read");
}

} // namespace halfpoll
