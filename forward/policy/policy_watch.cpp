// SPDX-License-Identifier: BSD-3-Clause
#include "policy_watch.hpp"

#include "nft_source.hpp"
#include "policy.hpp"
#include "sysctl_source.hpp"
#include "tc_source.hpp"
#include "xfrm_source.hpp"

namespace halfpoll
{

policy_watch::policy_watch(policy &policies, const epoll_set &events, const std::string &netns)
{
    for (const policy_kind kind : {policy_kind::xtables, policy_kind::bpf, policy_kind::ipvs}) {
        policies.replace(kind, {});
    }
    sources_.push_back(std::make_unique<nft_source>(policies, events, netns));
    sources_.push_back(std::make_unique<sysctl_source>(policies, events, netns));
    sources_.push_back(std::make_unique<xfrm_source>(policies, events, netns));
    sources_.push_back(std::make_unique<tc_source>(policies, events, netns));
}

void policy_watch::process()
{
    for (const auto &source : sources_) {
        source->process();
    }
}

} // namespace halfpoll
