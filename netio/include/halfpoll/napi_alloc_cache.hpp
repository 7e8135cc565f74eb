// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <array>
#include <cstdint>

struct rte_mbuf;
struct rte_mempool;

namespace halfpoll
{

struct softnet_data;

/// A CPU's stock of free mbufs of one pool. It is filled and emptied in bulk, so that the mempool is touched once for
/// many packets (the kernel's napi_alloc_cache; capacity, refill and keep follow its skb cache, scaled to bursts). Only
/// a thread in a section of the home CPU may use it, which debug builds assert; mbufs that other threads free go to the
/// mempool.
class napi_alloc_cache
{
public:
    static constexpr unsigned CAPACITY = 512; ///< mbufs
    static constexpr unsigned REFILL = 128;   ///< mbufs that go to or come from the mempool at a time

    /// `home`: the CPU that the cache belongs to; null if only one thread uses it.
    explicit napi_alloc_cache(rte_mempool *pool, const softnet_data *home = nullptr) noexcept : pool_(pool), home_(home)
    {
    }
    ~napi_alloc_cache();
    napi_alloc_cache(const napi_alloc_cache &) = delete;
    napi_alloc_cache &operator=(const napi_alloc_cache &) = delete;

    /// Takes n mbufs (n <= CAPACITY), all or none. They are raw as from rte_mbuf_raw_alloc(): refcnt is 1, next is
    /// null, the caller sets the rest. False: the pool is empty; counted in alloc_failures().
    bool alloc_raw(rte_mbuf **pkts, unsigned n) noexcept;
    /// Frees packets of any pool, with all segments. Segments without further references and of this pool are kept in
    /// the stock.
    void free(rte_mbuf **pkts, unsigned n) noexcept;
    /// Returns all mbufs to the pool. Also on the CPU that serves the home CPU while that is offline.
    void drain() noexcept;

    /// Mbufs in the stock.
    unsigned count() const noexcept { return count_; }
    std::uint64_t alloc_failures() const noexcept { return failures_; }
    rte_mempool *pool() const noexcept { return pool_; }

private:
    bool at_home() const noexcept;

    rte_mempool *pool_;
    const softnet_data *home_;
    unsigned count_ = 0;
    std::uint64_t failures_ = 0;
    std::array<rte_mbuf *, CAPACITY> stock_;
};

} // namespace halfpoll
