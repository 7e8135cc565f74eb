// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "simple_port.hpp"

#include <halfpoll/net_core.hpp>

#include <rte_byteorder.h>
#include <rte_mbuf.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <functional>
#include <random>
#include <thread>
#include <vector>

namespace halfpoll::test
{

/// Offsets of a packet's flow (the source address) and number (behind the UDP header).
inline constexpr unsigned FLOW_AT = 26, NUMBER_AT = 42, PACKET_LENGTH = 60;

inline std::uint32_t flow_of(const rte_mbuf *m)
{
    std::uint32_t flow;
    std::memcpy(&flow, rte_pktmbuf_mtod_offset(m, const char *, FLOW_AT), sizeof flow);
    return rte_be_to_cpu_32(flow);
}
inline std::uint32_t number_of(const rte_mbuf *m)
{
    std::uint32_t number;
    std::memcpy(&number, rte_pktmbuf_mtod_offset(m, const char *, NUMBER_AT), sizeof number);
    return number;
}

/// Makes the numbered packets of a run and checks their delivery. Packets of flow f come in by queue f % queues.
class sequence
{
public:
    sequence(rte_mempool *from, unsigned flows, unsigned queues, unsigned cpus, std::uint64_t packets)
        : pool(from), packets_(packets / queues * queues), next_sent_(flows), next_got_(flows), of_queue_(queues),
          got_(queues * cpus), cpus_(cpus)
    {
        for (unsigned q = 0; q < queues; ++q) {
            of_queue_[q].random.seed(q + 1);
        }
    }

    std::uint64_t packets() const { return packets_; }
    unsigned queues() const { return static_cast<unsigned>(of_queue_.size()); }
    unsigned flows() const { return static_cast<unsigned>(next_sent_.size()); }
    /// Returns the number of delivered packets, of one queue or of all.
    std::uint64_t delivered(unsigned queue) const
    {
        std::uint64_t sum = 0;
        for (unsigned cpu = 0; cpu < cpus_; ++cpu) {
            sum += got_[queue * cpus_ + cpu].packets.load(std::memory_order_relaxed);
        }
        return sum;
    }
    std::uint64_t delivered() const
    {
        std::uint64_t sum = 0;
        for (unsigned q = 0; q < queues(); ++q) {
            sum += delivered(q);
        }
        return sum;
    }
    std::uint64_t delivered_on(unsigned cpu) const
    {
        std::uint64_t sum = 0;
        for (unsigned q = 0; q < queues(); ++q) {
            sum += got_[q * cpus_ + cpu].packets.load(std::memory_order_relaxed);
        }
        return sum;
    }
    /// Pauses before the first packet and for changes of settings. Release; pairs with the acquire in make().
    void pause(bool on) { paused_.store(on, std::memory_order_release); }
    std::uint64_t reordered() const { return reordered_.load(std::memory_order_relaxed); }

    /// Makes up to n packets of a queue, so few at a time that no backlog gets full. Runs on the queue's home CPU.
    std::uint16_t make(unsigned queue, rte_mbuf **pkts, std::uint16_t n)
    {
        if (paused_.load(std::memory_order_acquire)) {
            return 0;
        }
        queue_state &q = of_queue_[queue];
        const std::uint64_t in_flight = q.sent - delivered(queue);
        const std::uint64_t room = std::min(packets_ / queues() - q.sent, IN_FLIGHT / queues() - in_flight);
        const auto count = static_cast<std::uint16_t>(std::min<std::uint64_t>(n, room));
        if (count == 0 || rte_pktmbuf_alloc_bulk(pool, pkts, count) != 0) {
            std::this_thread::yield(); // a consumer of the packets may need this core
            return 0;
        }
        for (unsigned i = 0; i < count; ++i) {
            fill(*pkts[i], queue, q);
        }
        q.sent += count;
        return count;
    }

    /// Checks the number of a delivered packet. Runs on any CPU, after the CPU of the flow's previous packet is done
    /// with that.
    void check(unsigned cpu, const rte_mbuf *m)
    {
        const std::uint32_t flow = flow_of(m);
        if (number_of(m) != next_got_[flow]) {
            reordered_.fetch_add(1, std::memory_order_relaxed);
        }
        next_got_[flow] = number_of(m) + 1;
        auto &count = got_[flow % queues() * cpus_ + cpu].packets;
        count.store(count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    }

    rte_mempool *const pool;

private:
    static constexpr std::uint64_t IN_FLIGHT = 896; ///< in all places together; below netdev_max_backlog

    struct alignas(128) queue_state {
        std::uint64_t sent = 0;
        std::minstd_rand random;
    };
    struct alignas(128) counter {
        std::atomic<std::uint64_t> packets{0}; ///< written by its CPU; relaxed
    };

    void fill(rte_mbuf &m, unsigned queue, queue_state &q)
    {
        const std::uint32_t which = static_cast<std::uint32_t>(q.random() % (flows() / queues()));
        const std::uint32_t flow = which * queues() + queue;
        std::uint8_t *f = rte_pktmbuf_mtod(&m, std::uint8_t *);
        std::memset(f, 0, PACKET_LENGTH);
        f[12] = 0x08;
        f[14] = 0x45;
        f[23] = 17;
        f[34] = 1; // ports 256 and 512
        f[36] = 2;
        const std::uint32_t address = rte_cpu_to_be_32(flow);
        std::memcpy(f + FLOW_AT, &address, sizeof address);
        std::memcpy(f + NUMBER_AT, &next_sent_[flow], sizeof(std::uint32_t));
        ++next_sent_[flow];
        m.data_len = PACKET_LENGTH;
        m.pkt_len = PACKET_LENGTH;
    }

    const std::uint64_t packets_;
    std::vector<std::uint32_t> next_sent_; ///< by flow; accessed by the home CPU of its queue
    /// By flow. Not atomic: the CPU that delivers a packet of a flow has seen the delivery of the previous one.
    /// Otherwise ThreadSanitizer reports a race.
    std::vector<std::uint32_t> next_got_;
    std::vector<queue_state> of_queue_;
    std::vector<counter> got_; ///< by queue and CPU
    unsigned cpus_;
    std::atomic<std::uint64_t> reordered_{0};
    std::atomic<bool> paused_{false};
};

/// A device that receives the packets of a sequence.
class sequence_port final : public simple_port
{
public:
    explicit sequence_port(sequence &s) : sequence_(s) {}

    port_info info() const override
    {
        port_info i;
        i.driver = "sequence";
        i.max_rx_queues = sequence_.queues();
        return i;
    }
    rx_wait wait_of(std::uint16_t) override { return {.reason = "makes its packets itself"}; }
    std::uint16_t rx_burst(std::uint16_t queue, rte_mbuf **pkts, std::uint16_t n) noexcept override
    {
        return sequence_.make(queue, pkts, n);
    }
    bool rx_pending(std::uint16_t) const noexcept override { return false; }
    int rx_irq_enable(std::uint16_t) noexcept override { return -ENOTSUP; }
    int rx_irq_disable(std::uint16_t) noexcept override { return -ENOTSUP; }
    std::uint16_t tx_burst(std::uint16_t, rte_mbuf **pkts, std::uint16_t n) noexcept override
    {
        for (unsigned i = 0; i < n; ++i) {
            sequence_.check(0, pkts[i]); // the caller owns the only tx queue
        }
        rte_pktmbuf_free_bulk(pkts, n);
        return n;
    }

private:
    sequence &sequence_;
};

} // namespace halfpoll::test
