// SPDX-License-Identifier: BSD-3-Clause
#include "serve.hpp"

#include <halfpoll/xdp.hpp>

#include <rte_mempool.h>
#include <rte_version.h>

#include <algorithm>
#include <numeric>
#include <set>
#include <string>
#include <unistd.h>

namespace halfpoll
{

using nlohmann::json;

namespace
{

/// Returns the kinds of bottom-half threads that every CPU has in addition to its own thread.
json further_threads(const config &cfg)
{
    json threads = json::array();
    for (const auto &[name, wanted] : {std::pair{"ksoftirqd", cfg.ksoftirqd}, std::pair{"irq_work", cfg.irq_workd},
                                       std::pair{"backlog_napi", cfg.thread_backlog_napi}}) {
        if (wanted) {
            threads.push_back(name);
        }
    }
    return threads;
}

/// What runs with less than was asked for, and what the configuration has switched off.
json degraded(router &r)
{
    json all = r.degraded();
    for (std::size_t kind = 0; kind < policy_kind_names.size(); ++kind) {
        if (!r.kernel().policies().obeys(static_cast<policy_kind>(kind))) {
            all.push_back("does not obey " + std::string(policy_kind_names[kind]) + ", as configured");
        }
    }
    return all;
}

/// The texts of the reasons that are obeyed, each once, and no more than a screen holds.
json texts_in_force(const policy &policies)
{
    constexpr std::size_t most = 32;
    std::set<std::string> texts;
    policies.visit([&](policy_kind kind, const policy_reason &reason) {
        if (policies.obeys(kind)) {
            texts.insert(reason.text);
        }
    });
    json list = json::array();
    for (const std::string &text : texts) {
        if (list.size() == most) {
            list.push_back(std::to_string(texts.size() - most) + " more");
            break;
        }
        list.push_back(text);
    }
    return list;
}

bool has_reason(const policy &policies, policy_kind wanted)
{
    bool has = false;
    policies.visit([&](policy_kind kind, const policy_reason &) { has |= kind == wanted; });
    return has;
}

/// Packets that the kernel of the ports has kept for itself.
std::uint64_t passed_in(router &r)
{
    std::uint64_t sum = 0;
    for (const net_device *dev : r.core().devices()) {
        sum += dev->driver && dev->failure.empty() ? dev->driver->counters().passed_in : 0;
    }
    return sum;
}

/// Packets that the fast path has sent on, of the ports that there are: all that they received but for those that went
/// another way. A counter of its own would cost on every packet.
std::uint64_t forwarded(router &r)
{
    std::uint64_t received = 0, elsewhere = 0;
    for (const net_device *dev : r.core().devices()) {
        const rx_counts counts = r.fwd().counts(dev->ifindex);
        received += counts.ip4 + counts.ip6 + counts.other;
        elsewhere = std::accumulate(counts.punted.begin(), counts.punted.end(), elsewhere);
        elsewhere = std::accumulate(counts.dropped.begin(), counts.dropped.end(), elsewhere);
        for (unsigned cpu = 0; cpu < r.core().cpus(); ++cpu) {
            elsewhere += r.core().cpu(cpu).dev[dev->ifindex].rx_dropped.load(std::memory_order_relaxed);
        }
        for (unsigned queue = 0; queue < dev->options.rx_queues; ++queue) {
            const xdp_counters xdp = xdp_counters_of(*dev, queue);
            elsewhere += xdp.drop + xdp.tx + xdp.redirect + xdp.aborted;
        }
    }
    return received - std::min(received, elsewhere); // the counters of a poll are written one after the other
}

} // namespace

json show_status(router &r)
{
    const mirror_stats &kernel = r.kernel().stats();
    const policy &policies = r.kernel().policies();
    return {{"status",
             {{"version", HALFPOLL_VERSION},
              {"dpdk", rte_version()},
              {"simd", forwarder::simd()},
              {"pid", getpid()},
              {"uptime_seconds", (ktime_get() - r.started()) / NSEC_PER_SEC},
              {"config", r.cfg().file},
              {"netns", r.cfg().netns},
              {"cpus", r.cfg().cpus},
              {"netdev_budget", r.rt().netdev_budget()},
              {"netdev_budget_usecs", r.rt().netdev_budget_usecs()},
              {"netdev_max_backlog", r.core().netdev_max_backlog()},
              {"skb_defer_max", r.core().skb_defer_max()},
              {"exclusion", exclusion_names()[static_cast<std::size_t>(r.cfg().exclusion)]},
              {"threads", further_threads(r.cfg())},
              {"log", std::string(to_string(r.cfg().log.level)) + " to " + r.cfg().log.target},
              {"degraded", degraded(r)},
              {"spinning_because", r.rt().no_wait_reason()},
              {"mbufs", r.cfg().mbufs},
              {"mbufs_in_use", rte_mempool_in_use_count(r.pool())},
              {"netlink_messages", kernel.messages},
              {"netlink_resyncs", kernel.resyncs},
              {"netlink_errors", kernel.errors},
              {"netlink_settled", r.kernel().settled()},
              {"prefixes_without_room", kernel.without_room},
              {"prefixes_by_tos_or_source", kernel.special_prefixes},
              {"neighbour_probes", kernel.probes},
              {"policy", texts_in_force(policies)},
              {"policy_routing", has_reason(policies, policy_kind::rule)},
              {"forwarded_fast", forwarded(r)},
              {"handed_to_kernel", r.slow().punted(PUNT_KERNEL) + passed_in(r)},
              {"slow_path_tx_drops", r.core().foreign_drops()}}}};
}

} // namespace halfpoll
