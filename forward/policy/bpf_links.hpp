// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "policy_reason.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace halfpoll
{

/// Finds the BPF programs that are netfilter hooks, by the links that hold them there. The kernel does not tell their
/// namespace: a link of any namespace is a reason.
class bpf_links
{
public:
    /// None if this process may not list links (CAP_SYS_ADMIN). Throws `error`.
    std::optional<std::vector<policy_reason>> look();

private:
    /// Link -> its reason, if it is one: what a link is does not change, and a new one has a new id.
    std::map<std::uint32_t, std::optional<policy_reason>> links_;
};

/// The reason that a netfilter hook with a BPF program is; none at a hook that forwarded packets do not pass. `pf`,
/// `hook`: NFPROTO_*, NF_INET_*. `what`: "link 12".
std::optional<policy_reason> bpf_hook_reason(std::uint32_t pf, std::uint32_t hook, const std::string &what);

/// True if the kernel is known to have no such hooks, whatever this process may list. Throws `error` if that cannot be
/// known.
bool lacks_bpf_hooks();

} // namespace halfpoll
