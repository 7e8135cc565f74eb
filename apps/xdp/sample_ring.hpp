// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <rte_mbuf.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

namespace halfpoll
{

struct sample {
    std::uint64_t time;                  ///< ns, CLOCK_MONOTONIC
    std::uint32_t ifindex, length, kept; ///< of the packet: receiving interface, bytes in all, bytes kept
};

/// Samples on their way from one data CPU, the producer, to the writer, the consumer.
class sample_ring
{
public:
    sample_ring(std::size_t slots, std::size_t bytes) : bytes_(bytes), samples_(slots), data_(slots * bytes) {}

    /// Copies the beginning of a packet. False: the ring is full. Producer.
    bool put(const rte_mbuf *packet, std::uint32_t ifindex, std::uint64_t now)
    {
        const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
        if (tail - head_.load(std::memory_order_acquire) == samples_.size()) { // pairs with the release in take()
            return false;
        }
        const std::size_t slot = tail % samples_.size();
        const auto kept = static_cast<std::uint32_t>(std::min<std::size_t>(packet->pkt_len, bytes_));
        std::uint8_t *to = &data_[slot * bytes_];
        if (const void *from = rte_pktmbuf_read(packet, 0, kept, to); from != to) {
            std::memcpy(to, from, kept);
        }
        samples_[slot] = {now, ifindex, packet->pkt_len, kept};
        tail_.store(tail + 1, std::memory_order_release); // pairs with the acquire in take()
        return true;
    }

    /// Calls with(sample, bytes) for each sample that is in the ring. Consumer.
    template <typename With>
    void take(const With &with)
    {
        const std::uint64_t tail = tail_.load(std::memory_order_acquire); // pairs with the release in put()
        for (std::uint64_t head = head_.load(std::memory_order_relaxed); head != tail; ++head) {
            const sample &s = samples_[head % samples_.size()];
            with(s, std::span(&data_[head % samples_.size() * bytes_], s.kept));
            head_.store(head + 1, std::memory_order_release); // pairs with the acquire in put()
        }
    }

private:
    const std::size_t bytes_;
    std::vector<sample> samples_;
    std::vector<std::uint8_t> data_;
    alignas(64) std::atomic<std::uint64_t> tail_{0}; ///< next slot to fill. Producer; see put() and take()
    alignas(64) std::atomic<std::uint64_t> head_{0}; ///< next slot to write to the file. Consumer; see put() and take()
};

} // namespace halfpoll
