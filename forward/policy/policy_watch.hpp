// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "policy_source.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace halfpoll
{

class epoll_set;
class policy;

/// The sources of all kinds but `rule`, which the mirror reads from its own socket.
class policy_watch
{
public:
    /// `is_own`: see bpf_source.
    policy_watch(policy &policies, const epoll_set &events, const std::string &netns,
                 const std::function<bool(std::uint32_t)> &is_own);
    /// Once a turn of the control loop, before anything else: what makes the fast path unsafe must not wait.
    void process();
    /// policy_source::settled(), of all.
    bool settled() const;

private:
    std::vector<std::unique_ptr<policy_source>> sources_;
};

} // namespace halfpoll
