// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/net_core.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

struct rte_mbuf;
struct rte_mempool;

namespace halfpoll
{

/// Empty mbufs of a pool for the next packets of one thread.
class mbuf_stock
{
public:
    explicit mbuf_stock(rte_mempool *pool) : pool_(pool) {}
    ~mbuf_stock();
    mbuf_stock(const mbuf_stock &) = delete;
    mbuf_stock &operator=(const mbuf_stock &) = delete;

    /// A packet with copies of the headers and the payload, in as many segments as that needs. Null: it needs more than
    /// `most` segments, or the pool is empty.
    rte_mbuf *packet(std::span<const std::uint8_t> headers, std::span<const std::uint8_t> payload,
                     unsigned most) noexcept;
    /// Number of mbufs that a packet of `length` bytes needs.
    unsigned segments_of(std::size_t length) const noexcept;

private:
    bool refill(unsigned want) noexcept;

    rte_mempool *pool_;
    std::array<rte_mbuf *, 2 * NET_BURST> stock_;
    unsigned stocked_ = 0;
};

} // namespace halfpoll
