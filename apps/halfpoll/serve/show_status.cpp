// SPDX-License-Identifier: BSD-3-Clause
#include "serve.hpp"

#include <rte_mempool.h>
#include <rte_version.h>
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

bool has_reason(mirror &kernel, policy_kind wanted)
{
    bool has = false;
    kernel.policies().visit([&](policy_kind kind, const policy_reason &) { has |= kind == wanted; });
    return has;
}

} // namespace

json show_status(router &r)
{
    const mirror_stats &kernel = r.kernel().stats();
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
              {"degraded", r.degraded()},
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
              {"policy_routing", has_reason(r.kernel(), policy_kind::rule)},
              {"slow_path_tx_drops", r.core().foreign_drops()}}}};
}

} // namespace halfpoll
