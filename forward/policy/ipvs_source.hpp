// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "kept_netns.hpp"
#include "look_timer.hpp"
#include "policy_reason.hpp"
#include "policy_source.hpp"

#include <cstdint>
#include <set>
#include <string>
#include <vector>

namespace halfpoll
{

class policy;

/// The reasons in the text of /proc/net/ip_vs: the virtual services. Only the first ones of a family have a reason of
/// their own.
std::vector<policy_reason> ipvs_services(const std::string &text);
/// The families of the connections in the text of /proc/net/ip_vs_conn.
std::set<std::uint8_t> ipvs_connections(const std::string &text);

/// Kind `ipvs`: virtual services (`ipvsadm`). They report no change: looked at each second.
class ipvs_source : public policy_source
{
public:
    ipvs_source(policy &policies, const epoll_set &events, const std::string &netns);
    void process() override;

private:
    void look();
    void add_connections(std::vector<policy_reason> &reasons);

    policy &policies_;
    kept_netns netns_;
    look_timer timer_;
    /// Families that have neither services nor connections of former ones. Only a new service makes new connections.
    std::set<std::uint8_t> clean_;
};

} // namespace halfpoll
