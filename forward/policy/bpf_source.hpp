// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "bpf_devices.hpp"
#include "bpf_links.hpp"
#include "look_timer.hpp"
#include "nf_hooks.hpp"
#include "policy_source.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace halfpoll
{

class policy;

/// Kind `bpf`: BPF programs as netfilter hooks, and at interfaces. Most report no change: looked at each second.
/// Classic filters with programs are of kind `tc`.
class bpf_source : public policy_source
{
public:
    /// `is_own`: whether a program with that id is no reason, because this process has attached it.
    bpf_source(
        policy &policies, const epoll_set &events, const std::string &netns,
        std::function<bool(std::uint32_t)> is_own = [](std::uint32_t) { return false; });
    void process() override;

private:
    void look();
    std::vector<policy_reason> look_at_hooks();

    policy &policies_;
    look_timer timer_;
    bpf_links links_;
    std::optional<nf_hooks> hooks_;          ///< none without NETLINK_NETFILTER
    std::optional<bool> kernel_lacks_hooks_; ///< asked only if needed
    bpf_devices devices_;
};

} // namespace halfpoll
