// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/slow_path.hpp>

#include <memory>

struct rte_ring;

namespace halfpoll
{

/// The packets from one data CPU to one slow-path thread, with the shadow of each: a single-producer, single-consumer
/// ring. Packets of a class may not fill all of it.
class punt_ring
{
public:
    /// Makes the ring for `size` packets, before any other call. Throws `error`.
    void make(unsigned size);

    /// Free slots that packets of a class may fill. Producer.
    unsigned room(punt_class c) const noexcept;
    /// Publishes as many packets as have room; returns how many. Producer.
    unsigned put(shadow &to, punt_class c, rte_mbuf *const *pkts, unsigned n) noexcept;
    /// Takes up to NET_BURST packets and the shadow of each. Consumer.
    unsigned dequeue(rte_mbuf **pkts, shadow **to) noexcept;
    /// Any thread.
    bool empty() const noexcept;

private:
    /// Frees the packets that are still in the ring, and the ring.
    struct discard {
        void operator()(rte_ring *ring) const noexcept;
    };
    std::unique_ptr<rte_ring, discard> ring_;
    unsigned reserved_ = 0; ///< slots for PUNT_ARP_ND and PUNT_ROUTING alone, without which the router loses its
                            ///< neighbours
};

} // namespace halfpoll
