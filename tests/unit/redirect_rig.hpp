// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "fake_port.hpp"

#include "netio/xdp/xdp_internal.hpp"

#include <halfpoll/eal.hpp>
#include <halfpoll/xdp_map.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace halfpoll::test
{

/// Devices without wires, and bursts that an XDP program has judged. At the end of a test every packet that it made
/// must have been sent, delivered or freed, exactly once.
class redirect_rig : public testing::Test
{
protected:
    static constexpr unsigned POOL_PACKETS = 2047;

    void SetUp() override { pool = packet_pool_create("redirect_test", POOL_PACKETS, 2176, 0); }
    void TearDown() override
    {
        for (rte_mbuf *m : hoard) {
            rte_pktmbuf_free(m);
        }
        core.reset();
        rt.reset();
        wires.clear();
        EXPECT_EQ(rte_mempool_avail_count(pool), POOL_PACKETS) << "packets leaked";
        packet_pool_free(pool);
    }

    void start(unsigned cpus = 1, exclusion_mode mode = exclusion_mode::exclusive)
    {
        runtime_options options;
        options.cpus.assign(cpus, cpu_options{});
        options.exclusion = mode;
        rt = std::make_unique<runtime>(options);
        core = std::make_unique<net_core>(*rt, pool);
        core->set_rx_handler(handler, this);
        in = &add("in");
    }
    net_device &add(const std::string &name, std::vector<unsigned> cpus = {})
    {
        wires.push_back(std::make_shared<fake_wire>());
        return core->register_netdevice(std::make_unique<fake_port>(wires.back()),
                                        {.name = name, .cpus = std::move(cpus)});
    }
    fake_wire &wire_of(const net_device &dev) { return *wires[dev.ifindex - 1U]; }

    std::vector<rte_mbuf *> packets(unsigned n, std::uint32_t first = 0, unsigned length = 60)
    {
        std::vector<rte_mbuf *> v;
        for (unsigned i = 0; i < n; ++i) {
            v.push_back(packet(pool, first + i, length));
        }
        return v;
    }
    /// Makes a burst as the hook passes it, with the same target for every packet. `pkts` must outlive the burst.
    static void judge(halfpoll_xdp_burst &burst, std::vector<rte_mbuf *> &pkts, const net_device &from,
                      halfpoll_xdp_target target)
    {
        burst.pkts = pkts.data();
        burst.n = static_cast<std::uint32_t>(pkts.size());
        burst.ingress_ifindex = from.ifindex;
        for (unsigned i = 0; i < burst.n; ++i) {
            burst.action[i] = XDP_REDIRECT;
            burst.target[i] = target;
        }
    }
    /// Does the work of one poll on CPU `cpu`: redirect, `between`, the end of the poll. Frees the packets that the
    /// redirect left to the hook and returns their actions.
    std::vector<unsigned> redirect(std::vector<rte_mbuf *> pkts, halfpoll_xdp_target target, unsigned cpu = 0,
                                   const std::function<void()> &between = {})
    {
        std::vector<unsigned> left;
        rt->call_on(cpu, [&](softnet_data &) {
            halfpoll_xdp_burst burst{};
            judge(burst, pkts, *in, target);
            xdp_do_redirect(core->cpu(cpu), *in, burst);
            for (unsigned i = 0; i < burst.n; ++i) {
                if (burst.action[i] != XDP_TAKEN) {
                    left.push_back(burst.action[i]);
                    rte_pktmbuf_free(burst.pkts[i]);
                }
            }
            if (between) {
                between();
            }
            net_poll_end(core->cpu(cpu));
        });
        return left;
    }
    static halfpoll_xdp_target to(const std::shared_ptr<xdp_map> &map, std::uint32_t key, std::uint32_t flags = 0)
    {
        return {map.get(), key, flags};
    }
    std::uint64_t errors(xdp_error err) const { return xdp_redirect_errors(*core, err); }
    std::uint64_t drops(unsigned reason) const { return core->drops(reason); }
    std::vector<std::uint32_t> sent(const net_device &dev)
    {
        fake_wire &w = wire_of(dev);
        const std::lock_guard lock(w.mutex);
        return w.sent;
    }
    static std::vector<std::uint32_t> numbers(unsigned n, std::uint32_t first = 0)
    {
        std::vector<std::uint32_t> v(n);
        for (unsigned i = 0; i < n; ++i) {
            v[i] = first + i;
        }
        return v;
    }
    /// Empties the pool.
    void empty_pool()
    {
        rt->call_on(0, [&](softnet_data &) { core->cpu(0).cache->drain(); });
        while (rte_mbuf *m = rte_pktmbuf_alloc(pool)) {
            hoard.push_back(m);
        }
    }
    struct arrival {
        unsigned cpu;
        const net_device *in;
        std::uint32_t number;
        bool operator==(const arrival &) const = default;
    };
    std::vector<arrival> arrived()
    {
        const std::lock_guard lock(mutex);
        return arrivals;
    }
    static void handler(void *ctx, net_cpu &cpu, net_device &from, rte_mbuf **pkts, unsigned n) noexcept
    {
        redirect_rig &rig = *static_cast<redirect_rig *>(ctx);
        {
            const std::lock_guard lock(rig.mutex);
            for (unsigned i = 0; i < n; ++i) {
                rig.arrivals.push_back({cpu.id, &from, *rte_pktmbuf_mtod(pkts[i], std::uint32_t *)});
            }
        }
        cpu.cache->free(pkts, n);
    }

    rte_mempool *pool = nullptr;
    std::vector<std::shared_ptr<fake_wire>> wires; ///< by ifindex - 1
    std::unique_ptr<runtime> rt;
    std::unique_ptr<net_core> core;
    net_device *in = nullptr;
    std::vector<rte_mbuf *> hoard;
    std::mutex mutex;
    std::vector<arrival> arrivals;
};

} // namespace halfpoll::test
