// SPDX-License-Identifier: BSD-3-Clause
#include "bpf_source.hpp"

#include "policy.hpp"

#include <halfpoll/error.hpp>

#include <utility>

namespace halfpoll
{

bpf_source::bpf_source(policy &policies, const epoll_set &events, const std::string &netns,
                       std::function<bool(std::uint32_t)> is_own)
    : policies_(policies), timer_(events), devices_(events, netns, std::move(is_own))
{
    if (netlink_socket::supported(NETLINK_NETFILTER)) {
        hooks_.emplace(netns);
    }
    process();
}

void bpf_source::process()
{
    try {
        bool look_again = devices_.changed();
        if (timer_.due() || look_again) {
            look();
            look_again = devices_.changed();
        }
        if (look_again) {
            timer_.hasten();
        }
    } catch (const error &e) {
        policies_.doubt(policy_kind::bpf, e.what());
    }
}

void bpf_source::look()
{
    std::vector<policy_reason> reasons = look_at_hooks();
    std::vector<policy_reason> more = devices_.look();
    reasons.insert(reasons.end(), more.begin(), more.end());
    policies_.replace(policy_kind::bpf, std::move(reasons));
}

/// Without CAP_SYS_ADMIN links cannot be listed, but hooks can, if the kernel was built so. A kernel that has no hooks
/// for programs has none to list.
std::vector<policy_reason> bpf_source::look_at_hooks()
{
    auto reasons = links_.look();
    if (!reasons && hooks_) {
        reasons = hooks_->look();
    }
    if (!reasons && !kernel_lacks_hooks_) {
        kernel_lacks_hooks_ = lacks_bpf_hooks();
    }
    if (!reasons && !*kernel_lacks_hooks_) {
        throw error("netfilter hooks cannot be listed (needs CAP_SYS_ADMIN)");
    }
    return std::move(reasons).value_or(std::vector<policy_reason>());
}

} // namespace halfpoll
