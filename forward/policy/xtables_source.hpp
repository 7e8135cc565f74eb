// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "kept_netns.hpp"
#include "look_timer.hpp"
#include "policy_source.hpp"

#include <string>

namespace halfpoll
{

class policy;

/// Kind `xtables`: the tables of iptables and ip6tables. They report no change: looked at each second.
class xtables_source : public policy_source
{
public:
    xtables_source(policy &policies, const epoll_set &events, const std::string &netns);
    void process() override;

private:
    void look();

    policy &policies_;
    kept_netns netns_;
    look_timer timer_;
};

} // namespace halfpoll
