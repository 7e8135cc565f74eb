// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "fake_port.hpp"

#include <halfpoll/eal.hpp>

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace halfpoll::test
{

/// Devices without wires on a runtime. At the end of a test every packet must have been sent or freed.
class net_rig : public testing::Test
{
protected:
    explicit net_rig(unsigned packets) : pool_packets_(packets) {}
    void SetUp() override { pool_ = packet_pool_create("net_rig", pool_packets_, 2176, 0); }
    void TearDown() override
    {
        core_.reset();
        rt_.reset();
        wires_.clear();
        EXPECT_EQ(rte_mempool_avail_count(pool_), pool_packets_) << "packets leaked";
        packet_pool_free(pool_);
    }
    void start(unsigned cpus = 1)
    {
        runtime_options options;
        options.cpus.assign(cpus, cpu_options{});
        rt_ = std::make_unique<runtime>(options);
        core_ = std::make_unique<net_core>(*rt_, pool_);
    }
    std::shared_ptr<fake_wire> wire() { return wires_.emplace_back(std::make_shared<fake_wire>()); }
    net_device &add(const std::string &name, const std::shared_ptr<fake_wire> &w, std::vector<unsigned> cpus = {},
                    int busy_poll = -1)
    {
        net_device_options options;
        options.name = name;
        options.cpus = std::move(cpus);
        options.napi.busy_poll = busy_poll;
        return core_->register_netdevice(std::make_unique<fake_port>(w), options);
    }
    /// Installs a handler that sends every received packet out of `out`.
    void forward_to(net_device *&out)
    {
        core_->set_rx_handler(
            [](void *ctx, net_cpu &cpu, net_device &, rte_mbuf **pkts, unsigned n) noexcept {
                dev_queue_xmit(cpu, **static_cast<net_device **>(ctx), pkts, n);
            },
            &out);
    }
    /// Expects that exactly the numbers 0 to n - 1 were sent, in order.
    static void expect_sent_in_order(fake_wire &w, unsigned n)
    {
        ASSERT_TRUE(eventually([&] { return w.sent_count() >= n; })) << w.sent_count() << " of " << n;
        const std::lock_guard lock(w.mutex);
        ASSERT_EQ(w.sent.size(), n);
        for (unsigned i = 0; i < n; ++i) {
            ASSERT_EQ(w.sent[i], i) << "at " << i;
        }
    }

    rte_mempool *pool_ = nullptr;
    std::unique_ptr<runtime> rt_;
    std::unique_ptr<net_core> core_;
    std::vector<std::shared_ptr<fake_wire>> wires_;

private:
    const unsigned pool_packets_;
};

} // namespace halfpoll::test
