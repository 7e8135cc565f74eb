// SPDX-License-Identifier: BSD-3-Clause
#include <halfpoll/napi_alloc_cache.hpp>
#include <halfpoll/softnet_data.hpp>

#include "freed_segments.hpp"

#include <rte_mbuf.h>
#include <rte_mempool.h>

#include <algorithm>
#include <cassert>

namespace halfpoll
{

napi_alloc_cache::~napi_alloc_cache() { drain(); }

bool napi_alloc_cache::at_home() const noexcept { return !home_ || this_softnet_data() == home_; }

bool napi_alloc_cache::alloc_raw(rte_mbuf **pkts, unsigned n) noexcept
{
    assert(at_home());
    if (n > count_) {
        const unsigned missing = n - count_;
        unsigned got = std::min(std::max(missing, REFILL), CAPACITY - count_);
        void **room = reinterpret_cast<void **>(&stock_[count_]);
        if (rte_mempool_get_bulk(pool_, room, got) != 0) {
            got = missing; // a nearly empty pool may still have the missing ones
            if (rte_mempool_get_bulk(pool_, room, got) != 0) {
                ++failures_;
                return false;
            }
        }
        count_ += got;
    }
    count_ -= n;
    std::copy_n(&stock_[count_], n, pkts);
    return true;
}

void napi_alloc_cache::free(rte_mbuf **pkts, unsigned n) noexcept
{
    assert(at_home());
    for_freed_segments(pkts, n, [this](rte_mbuf *m) noexcept {
        if (m->pool != pool_) {
            rte_mempool_put(m->pool, m);
            return;
        }
        if (count_ == CAPACITY) {
            count_ -= REFILL;
            rte_mempool_put_bulk(pool_, reinterpret_cast<void **>(&stock_[count_]), REFILL);
        }
        stock_[count_++] = m;
    });
}

void napi_alloc_cache::drain() noexcept
{
    if (count_ != 0) {
        rte_mempool_put_bulk(pool_, reinterpret_cast<void **>(stock_.data()), count_);
        count_ = 0;
    }
}

} // namespace halfpoll
