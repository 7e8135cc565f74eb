// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "eventually.hpp"
#include "test_netns.hpp"

#include "forward/events/epoll_set.hpp"
#include "forward/policy/policy.hpp"

#include <gmock/gmock.h>

#include <memory>
#include <poll.h>
#include <set>
#include <string>
#include <sys/socket.h>

namespace halfpoll::test
{

/// A source of a policy, in a namespace of its own.
template <typename Source>
class source_rig
{
public:
    explicit source_rig(policy_kind kind) : kind_(kind) { start(); }

    /// A new source: it begins with what the kernel has now.
    void start()
    {
        source_.reset();
        source_ = std::make_unique<Source>(policies_, events_, netns.name());
    }
    /// Waits until the source finds these reasons and no others.
    void expect(const std::set<std::string> &texts)
    {
        eventually([&] {
            turn();
            return this->texts() == texts;
        });
        EXPECT_THAT(this->texts(), testing::ContainerEq(texts));
    }
    /// Texts of the reasons: "iptables filter FORWARD", with the families and the interface, if it has any, in front.
    std::set<std::string> texts() const
    {
        std::set<std::string> all;
        policies_.visit([&](policy_kind kind, const policy_reason &reason) {
            if (kind == kind_) {
                all.insert(where(reason) + reason.text);
            }
        });
        return all;
    }
    /// A turn of the control loop, which waits at most 10 ms.
    void turn()
    {
        pollfd p{.fd = events_.fd(), .events = POLLIN, .revents = 0};
        poll(&p, 1, 10);
        source_->process();
    }

    const test_netns netns{"policy"};

private:
    static std::string where(const policy_reason &reason)
    {
        const std::string families = reason.family == AF_INET ? "4: " : reason.family == AF_INET6 ? "6: " : "46: ";
        return reason.ifindex == 0 ? families
                                   : families + (reason.side == policy_side::in ? "in by " : "out by ") +
                                         std::to_string(reason.ifindex) + ": ";
    }

    policy_kind kind_;
    policy policies_;
    epoll_set events_;
    std::unique_ptr<Source> source_;
};

} // namespace halfpoll::test
