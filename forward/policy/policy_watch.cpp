// SPDX-License-Identifier: BSD-3-Clause
#include "policy_watch.hpp"

#include "bpf_source.hpp"
#include "ipvs_source.hpp"
#include "nft_source.hpp"
#include "sysctl_source.hpp"
#include "tc_source.hpp"
#include "xfrm_source.hpp"
#include "xtables_source.hpp"

#include <algorithm>

namespace halfpoll
{

policy_watch::policy_watch(policy &policies, const epoll_set &events, const std::string &netns,
                           const std::function<bool(std::uint32_t)> &is_own)
{
    sources_.push_back(std::make_unique<nft_source>(policies, events, netns));
    sources_.push_back(std::make_unique<xtables_source>(policies, events, netns));
    sources_.push_back(std::make_unique<bpf_source>(policies, events, netns, is_own));
    sources_.push_back(std::make_unique<xfrm_source>(policies, events, netns));
    sources_.push_back(std::make_unique<ipvs_source>(policies, events, netns));
    sources_.push_back(std::make_unique<tc_source>(policies, events, netns));
    sources_.push_back(std::make_unique<sysctl_source>(policies, events, netns));
}

void policy_watch::process()
{
    for (const auto &source : sources_) {
        source->process();
    }
}

bool policy_watch::settled() const
{
    return std::ranges::all_of(sources_, [](const auto &source) { return source->settled(); });
}

} // namespace halfpoll
