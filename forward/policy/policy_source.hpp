// SPDX-License-Identifier: BSD-3-Clause
#pragma once

namespace halfpoll
{

/// Inspects one part of the kernel and keeps its reasons in a `policy` up to date. Control thread only.
///
/// Its constructor takes the policy, the epoll_set that is to become readable when process() has work, and the network
/// namespace. It begins an inspection and does not wait for its end. If the kernel lacks the part, there are no
/// reasons; if it cannot be inspected (permissions, lost messages, unknown contents), that is a doubt
/// (policy::doubt()).
class policy_source
{
public:
    policy_source() = default;
    virtual ~policy_source() = default;
    policy_source(const policy_source &) = delete;
    policy_source &operator=(const policy_source &) = delete;

    /// Applies the messages that wait, and looks again at what the kernel does not report. Never blocks; throws nothing
    /// but `std::bad_alloc`: an error is a doubt.
    virtual void process() = 0;
    /// True if all messages that the kernel has sent so far are applied. What is looked at by time does not count.
    virtual bool settled() const { return true; }
};

} // namespace halfpoll
