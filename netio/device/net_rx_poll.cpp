// SPDX-License-Identifier: BSD-3-Clause
#include "net_rx_poll.hpp"
#include "netio/base/burst_length.hpp"
#include "netio/base/net_deliver.hpp"
#include "netio/buffers/skb_defer.hpp"
#include "netio/steering/rps_internal.hpp"
#include "netio/xdp/xdp_internal.hpp"

#include <halfpoll/softnet_data.hpp>

#include <rte_branch_prediction.h>
#include <rte_mbuf.h>

#include <algorithm>
#include <cstddef>
#include <type_traits>

namespace halfpoll
{
namespace
{

static_assert(std::is_standard_layout_v<rx_queue> && offsetof(rx_queue, napi) == 0);
rx_queue &queue_of(napi_struct &napi) noexcept { return reinterpret_cast<rx_queue &>(napi); }
const rx_queue &queue_of(const napi_struct &napi) noexcept { return reinterpret_cast<const rx_queue &>(napi); }

int irq_enable(napi_struct &napi) noexcept
{
    rx_queue &q = queue_of(napi);
    return q.driver->rx_irq_enable(q.queue);
}

int irq_disable(napi_struct &napi) noexcept
{
    rx_queue &q = queue_of(napi);
    return q.driver->rx_irq_disable(q.queue);
}

bool rx_pending(const napi_struct &napi) noexcept
{
    const rx_queue &q = queue_of(napi);
    return q.driver->rx_pending(q.queue);
}

bool rx_starved(const napi_struct &napi) noexcept
{
    const rx_queue &q = queue_of(napi);
    return q.driver->rx_starved(q.queue);
}

/// Whether the queue has neither an XDP program nor RPS, in one test.
bool is_plain(const rx_queue &q) noexcept
{
    return (reinterpret_cast<std::uintptr_t>(q.rps) |
            reinterpret_cast<std::uintptr_t>(q.xdp.load(std::memory_order_relaxed))) == 0;
}

/// Passes packets to the XDP program, then to RPS or to the handler. The queue may lack either of the first two.
[[gnu::noinline]] void rx_divert(rx_queue &q, rte_mbuf **pkts, unsigned n) noexcept
{
    if (xdp_queue *const xdp = q.xdp.load(std::memory_order_acquire)) {
        n = xdp_receive(q, *xdp, pkts, n);
        if (n == 0) {
            return;
        }
    }
    if (q.rps) {
        rps_receive(q, pkts, n);
    } else {
        net_deliver(*q.cpu, *q.dev, pkts, n);
    }
}

constexpr ktime_t CHANGE_RETRY = 50 * NSEC_PER_USEC;

/// Receives nothing in this poll, because a change of the settings waits, and polls again after the other instances. In
/// mode `nested` the CPUs that the change waits for may have a lower priority on the same logical CPU, so this thread
/// sleeps meanwhile.
int wait_for_change(napi_struct &napi) noexcept
{
    if (napi_complete_done(napi, 0)) {
        if (napi.sd->env->options().exclusion == exclusion_mode::nested) {
            napi.sd->timers.start(napi.timer, napi.sd->now + CHANGE_RETRY);
        } else {
            napi_schedule(napi);
        }
    }
    return 0;
}

} // namespace

const napi_irq_ops net_rx_irq_ops = {
    .enable = irq_enable, .disable = irq_disable, .pending = rx_pending, .starved = rx_starved};

int net_rx_poll(napi_struct &napi, int budget) noexcept
{
    if (budget == 0) {
        return 0; // drivers reclaim sent packets when they send
    }
    rx_queue &q = queue_of(napi);
    net_cpu &cpu = *q.cpu;
    if (unlikely(q.rps != nullptr) && !rps_may_receive(q)) {
        return wait_for_change(napi);
    }
    defer_take_waiting(cpu);
    const unsigned limit = static_cast<unsigned>(budget);
    unsigned work = 0;
    std::uint64_t bytes = 0;
    rte_mbuf *pkts[NET_BURST];

    while (work < limit) {
        const unsigned want = std::min(NET_BURST, limit - work);
        const unsigned n = q.driver->rx_burst(q.queue, pkts, static_cast<std::uint16_t>(want));
        if (n == 0) {
            break;
        }
        bytes += bytes_of(pkts, n);
        work += n;
        if (likely(is_plain(q))) {
            net_deliver(cpu, *q.dev, pkts, n);
        } else {
            rx_divert(q, pkts, n);
        }
        if (n < want) {
            break;
        }
    }
    if (work != 0) {
        dev_stats &stats = cpu.dev[q.dev->ifindex];
        stat_add(stats.rx_packets, work);
        stat_add(stats.rx_bytes, bytes);
        net_poll_end(cpu);
    }
    const int work_done = static_cast<int>(work);
    if (work < limit && napi_complete_done(napi, work_done)) {
        napi_unmask_irq(napi);
    }
    return work_done;
}

} // namespace halfpoll
