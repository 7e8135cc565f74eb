// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "eventually.hpp"
#include "test_netns.hpp"

#include "forward/events/epoll_set.hpp"
#include "forward/policy/policy.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <poll.h>
#include <string>
#include <vector>

namespace halfpoll::test
{

/// A policy with one source, in a namespace of the test's own.
template <typename Source>
class policy_rig : public testing::Test
{
protected:
    policy_rig(const std::string &part, policy_kind kind) : netns_(part), kind_(kind)
    {
        policy_set only_this{};
        only_this[static_cast<std::size_t>(kind)] = true;
        policies_.obey(only_this);
    }

    /// Makes a source that knows nothing yet.
    template <typename... Options>
    void make_source(Options... options)
    {
        source_.reset();
        policies_.doubt(kind_, "not inspected yet");
        source_ = std::make_unique<Source>(policies_, events_, netns_.name(), options...);
    }
    /// Lets the source work until it has nothing to do.
    void settle()
    {
        pollfd p{.fd = events_.fd(), .events = POLLIN, .revents = 0};
        do {
            source_->process();
        } while (poll(&p, 1, 0) > 0);
    }
    std::vector<policy_reason> reasons() const
    {
        std::vector<policy_reason> all;
        policies_.visit([&](policy_kind kind, const policy_reason &reason) {
            if (kind == kind_) {
                all.push_back(reason);
            }
        });
        return all;
    }
    /// The texts of the reasons, in alphabetical order.
    std::vector<std::string> texts() const
    {
        std::vector<std::string> all;
        for (const policy_reason &reason : reasons()) {
            all.push_back(reason.text);
        }
        std::ranges::sort(all);
        return all;
    }
    /// Waits until these are the texts of the reasons: some of what the kernel does comes later, such as an expiry.
    void expect(const std::vector<std::string> &wanted)
    {
        eventually([&] {
            settle();
            return texts() == wanted;
        });
        EXPECT_EQ(texts(), wanted);
    }
    bool kernel_forwards(std::uint8_t family, policy_side side, int ifindex = 0) const
    {
        return policies_.kernel_forwards(family, side, {.ifindex = ifindex, .name = "any"});
    }

    test_netns netns_;
    const policy_kind kind_;
    epoll_set events_;
    policy policies_;
    std::unique_ptr<Source> source_;
};

} // namespace halfpoll::test
