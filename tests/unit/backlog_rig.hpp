// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "fake_port.hpp"

#include <halfpoll/backlog.hpp>
#include <halfpoll/eal.hpp>
#include <halfpoll/softnet_data.hpp>

#include "eventually.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace halfpoll::test
{

/// One packet that the handler received; the rig keeps them in order.
struct delivery {
    unsigned cpu;
    const net_device *in;
    std::uint32_t number;
    bool operator==(const delivery &) const = default;
};

/// A runtime with backlogs, one device without a wire, and a handler that records the packets it receives.
class backlog_rig : public testing::Test
{
protected:
    static constexpr unsigned POOL_PACKETS = 16383;

    void SetUp() override { pool = packet_pool_create("backlog_test", POOL_PACKETS, 2176, 0); }
    void TearDown() override
    {
        core.reset();
        rt.reset();
        EXPECT_EQ(rte_mempool_avail_count(pool), POOL_PACKETS) << "packets leaked";
        packet_pool_free(pool);
    }

    void start(runtime_options options, unsigned cpus, unsigned limit = NETDEV_MAX_BACKLOG)
    {
        options.cpus.assign(cpus, cpu_options{});
        rt = std::make_unique<runtime>(options);
        core = std::make_unique<net_core>(*rt, pool, 1, limit);
        core->set_rx_handler(handler, this);
        eth = &add("eth0");
        for (unsigned cpu = 0; cpu < cpus; ++cpu) { // no spinning: each schedule shows in the counters
            napi_config config = core->cpu(cpu).backlog.napi.config;
            config.busy_poll = 0;
            napi_configure(core->cpu(cpu).backlog.napi, config);
        }
    }
    net_device &add(const std::string &name)
    {
        wires.push_back(std::make_shared<fake_wire>());
        return core->register_netdevice(std::make_unique<fake_port>(wires.back()), {.name = name});
    }
    std::vector<rte_mbuf *> packets(unsigned n, std::uint32_t first = 0)
    {
        std::vector<rte_mbuf *> v;
        for (unsigned i = 0; i < n; ++i) {
            v.push_back(packet(pool, first + i));
        }
        return v;
    }
    /// Enqueues as a poll on CPU `from` does, but without the end of the poll. Runs on that CPU.
    void enqueue_here(unsigned from, unsigned target, net_device &in, std::vector<rte_mbuf *> pkts)
    {
        for (std::size_t i = 0; i < pkts.size(); i += NET_BURST) {
            const std::size_t n = std::min<std::size_t>(NET_BURST, pkts.size() - i);
            enqueue_to_backlog(core->cpu(from), target, in, pkts.data() + i, static_cast<unsigned>(n));
        }
    }
    void enqueue(unsigned from, unsigned target, const std::vector<rte_mbuf *> &pkts)
    {
        rt->call_on(from, [&](softnet_data &) {
            enqueue_here(from, target, *eth, pkts);
            net_poll_end(core->cpu(from));
        });
    }
    std::size_t count()
    {
        const std::lock_guard lock(mutex);
        return delivered.size();
    }
    std::vector<delivery> all()
    {
        const std::lock_guard lock(mutex);
        return delivered;
    }
    std::vector<delivery> expected(unsigned cpu, unsigned n) const
    {
        std::vector<delivery> v;
        for (unsigned i = 0; i < n; ++i) {
            v.push_back({cpu, eth, i});
        }
        return v;
    }
    bool idle(unsigned cpu)
    {
        return eventually([&] { return core->cpu(cpu).backlog_idle != 0 && rt->cpu(cpu).sleeping != 0; });
    }
    std::uint32_t behind(unsigned from, unsigned target)
    {
        std::uint32_t n = 0;
        rt->call_on(from, [&](softnet_data &) {
            n = backlog_tail(core->cpu(from), target) - backlog_head(core->cpu(from), target);
        });
        return n;
    }

    static void handler(void *ctx, net_cpu &cpu, net_device &in, rte_mbuf **pkts, unsigned n) noexcept
    {
        backlog_rig &rig = *static_cast<backlog_rig *>(ctx);
        if (rig.on_burst) {
            rig.on_burst(cpu, n);
        }
        const std::lock_guard lock(rig.mutex);
        rig.largest_burst = std::max(rig.largest_burst, n);
        for (unsigned i = 0; i < n; ++i) {
            rig.delivered.push_back({cpu.id, &in, *rte_pktmbuf_mtod(pkts[i], std::uint32_t *)});
        }
        cpu.cache->free(pkts, n);
    }

    rte_mempool *pool = nullptr;
    std::vector<std::shared_ptr<fake_wire>> wires;
    std::unique_ptr<runtime> rt;
    std::unique_ptr<net_core> core;
    net_device *eth = nullptr;
    std::function<void(net_cpu &, unsigned)> on_burst; ///< called on the delivering CPU, before the burst is recorded
    std::mutex mutex;
    std::vector<delivery> delivered;
    unsigned largest_burst = 0;
};

inline runtime_options exclusive() { return {}; }
inline runtime_options threaded_backlog()
{
    runtime_options options;
    options.exclusion = exclusion_mode::big;
    options.thread_backlog_napi = true;
    return options;
}

} // namespace halfpoll::test
