// SPDX-License-Identifier: BSD-3-Clause
#include "forwarder.hpp"

#include "forward_burst.hpp"
#include "ip4_check.hpp"

#include <rte_rcu_qsbr.h>

#include <algorithm>
#include <deque>

namespace halfpoll
{

/// Functions that wait for a grace period, oldest first.
struct forwarder::deferred {
    struct item {
        std::uint64_t token;
        std::function<void()> fn;
    };
    std::deque<item> items;

    void run_first()
    {
        const std::function<void()> fn = std::move(items.front().fn);
        items.pop_front();
        fn();
    }
};

forwarder::forwarder(net_core &core, slow_path *slow, const table_sizes &sizes)
    : core_(core), slow_(slow), deferred_(std::make_unique<deferred>())
{
    const auto later = [this](std::function<void()> fn) { retire(std::move(fn)); };
    nexthops_ = std::make_unique<nexthop_table>(later, sizes.nexthops);
    fib4_ = std::make_unique<fib4>(later, nexthop_table::default4, sizes.groups4);
    fib4_->on_default = [this](bool exists, std::uint32_t nexthop) {
        nexthops_->alias(nexthop_table::default4, exists ? nexthop : nexthop_table::no_route);
    };
    fib6_ = std::make_unique<fib6>(later, nexthop_table::no_route, sizes.groups6);
    interfaces_ = std::make_unique<interface_table>(later);
    for (unsigned cpu = 0; cpu < core.cpus(); ++cpu) {
        stats_.push_back(std::make_unique<rx_stats[]>(MAX_IFINDEX));
    }
}

forwarder::~forwarder()
{
    core_.rt().synchronize_rcu();
    while (!deferred_->items.empty()) {
        deferred_->run_first();
    }
}

void forwarder::retire(std::function<void()> fn)
{
    deferred_->items.push_back({rte_rcu_qsbr_start(core_.rt().qsbr()), std::move(fn)});
}

bool forwarder::reclaim()
{
    auto &items = deferred_->items;
    while (!items.empty() && rte_rcu_qsbr_check(core_.rt().qsbr(), items.front().token, false) == 1) {
        deferred_->run_first();
    }
    return items.empty();
}

rx_counts forwarder::counts(ifindex_t ifindex) const
{
    rx_counts sum;
    std::uint64_t all = 0;
    for (unsigned cpu = 0; cpu < core_.cpus(); ++cpu) {
        const rx_stats &s = stats_[cpu][ifindex];
        sum.ip6 += s.ip6.load(std::memory_order_relaxed);
        sum.other += s.other.load(std::memory_order_relaxed);
        for (unsigned c = 0; c < PUNT_CLASSES; ++c) {
            sum.punted[c] += s.punted[c].load(std::memory_order_relaxed);
        }
        for (unsigned reason = 0; reason < DROP_REASONS; ++reason) {
            sum.dropped[reason] += s.dropped[reason].load(std::memory_order_relaxed);
        }
        all += core_.cpu(cpu).dev[ifindex].rx_packets.load(std::memory_order_relaxed);
    }
    sum.ip4 = all - std::min(all, sum.ip6 + sum.other); // rx_packets of a poll is written after its ip6 and other
    return sum;
}

void forwarder::receive(void *ctx, net_cpu &cpu, net_device &in, rte_mbuf **pkts, unsigned n) noexcept
{
    const forwarder &fwd = *static_cast<forwarder *>(ctx);
    burst_verdicts io(*fwd.fib4_, *fwd.fib6_, *fwd.nexthops_, fwd.interfaces_->get(in.ifindex),
                      fwd.stats_[cpu.id][in.ifindex], fwd.slow_, cpu, in);
    forward_burst(io, pkts, n);
}

const char *forwarder::simd() noexcept { return ip4_check_levels().front().name; }

} // namespace halfpoll
