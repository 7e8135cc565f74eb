// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <array>
#include <cstdint>

struct rte_mbuf;
struct rte_mempool;

namespace halfpoll
{

struct softnet_data;

/// A CPU's stock of free mbufs of one pool, filled and emptied in bulk, so that the mempool is touched once per many
/// packets (the kernel's napi_alloc_cache; capacity, refill and keep follow its skb cache, scaled to bursts). Only
/// threads in a section of the home CPU come here; what others free goes to the mempool. Debug builds look after that.
class napi_alloc_cache
{
public:
    static constexpr unsigned capacity = 512;
    static constexpr unsigned refill = 128;

    /// `home`: null if it has one thread.
    explicit napi_alloc_cache(rte_mempool *pool, const softnet_data *home = nullptr) noexcept : pool_(pool), home_(home)
    {
    }
    ~napi_alloc_cache();
    napi_alloc_cache(const napi_alloc_cache &) = delete;
    napi_alloc_cache &operator=(const napi_alloc_cache &) = delete;

    /// All n (<= capacity) or none; raw mbufs (rte_mbuf_raw_alloc): refcnt 1, next null, the rest to be reset. False:
    /// the pool is empty; counted.
    bool alloc_raw(rte_mbuf **pkts, unsigned n) noexcept;
    /// Returns mbufs of any pool, segmented or not; those that are plain and of this pool are kept.
    void free(rte_mbuf **pkts, unsigned n) noexcept;
    /// Gives everything back to the pool. Also where its home's work is done while that is offline.
    void drain() noexcept;

    /// Mbufs in stock.
    unsigned count() const noexcept { return count_; }
    std::uint64_t alloc_failures() const noexcept { return failures_; }
    rte_mempool *pool() const noexcept { return pool_; }

private:
    bool at_home() const noexcept;

    rte_mempool *pool_;
    const softnet_data *home_;
    unsigned count_ = 0;
    std::uint64_t failures_ = 0;
    std::array<rte_mbuf *, capacity> stock_;
};

} // namespace halfpoll
