// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/backlog_cpu.hpp>
#include <halfpoll/defer_cpu.hpp>
#include <halfpoll/drop_reason.hpp>
#include <halfpoll/handover_cpu.hpp>
#include <halfpoll/napi_alloc_cache.hpp>
#include <halfpoll/net_device.hpp>
#include <halfpoll/xmit_cpu.hpp>

#include <array>
#include <atomic>
#include <memory>

namespace halfpoll
{

class net_core;
struct redirect_cpu;
struct rps_cpu;

/// What a poll may have left to do before it flushes its tx queues, in this order.
enum poll_end_step : std::uint8_t {
    POLL_END_XDP, ///< packets were redirected
    POLL_END_RPS, ///< packets were staged for other CPUs, which begin while this CPU rings its devices
    POLL_END_STEPS
};

/// netio's part of a runtime CPU: a member for each subsystem. Home CPU only, unless a member says otherwise.
struct net_cpu {
    softnet_data *sd = nullptr;
    net_core *core = nullptr;
    unsigned id = 0; ///< runtime CPU number
    /// False while the CPU is offline: no packet is directed to it. Written by the control thread while no packet is
    /// under way.
    std::atomic<bool> active{true};
    std::unique_ptr<napi_alloc_cache> cache;
    xmit_cpu xmit;
    std::uint8_t poll_end_due = 0; ///< bit per poll_end_step that has work at the end of this poll
    /// By poll_end_step; constant. Set by the component, so that transmit does not know it.
    std::array<void (*)(net_cpu &) noexcept, POLL_END_STEPS> poll_end{};
    handover_cpu handover;
    backlog_cpu backlog;
    defer_cpu defer;
    std::shared_ptr<rps_cpu> rps;           ///< steering of packets to other CPUs
    std::shared_ptr<redirect_cpu> redirect; ///< XDP redirects: bulk queues, flush lists, error counters

    // Written by other CPUs, on a cache line apart.
    /// Not 0: the consumer has stopped polling the rings, so a producer that publishes must schedule `backlog`. Set by
    /// announce() in process_backlog(); pairs with announced() in kick_idle_backlogs().
    alignas(128) std::atomic<std::uint32_t> backlog_idle{0};
    /// A producer has more packets in its ring than its share of netdev_max_backlog, so the other producers must check
    /// the sum over all rings. A relaxed hint, set by producers and cleared here.
    std::atomic<bool> backlog_crowded{false};
    /// One of the rings of `defer` holds packets. Stored with release by the CPU that published; pairs with the acquire
    /// exchange of this CPU in defer_take().
    std::atomic<bool> defer_waits{false};

    alignas(128) std::array<dev_stats, MAX_IFINDEX> dev{};
    std::array<std::atomic<std::uint64_t>, DROP_REASONS> drops{}; ///< this CPU writes, any thread reads, relaxed
};

} // namespace halfpoll
