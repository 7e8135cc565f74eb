// SPDX-License-Identifier: BSD-3-Clause
#include "packet_pool.hpp"

#include <halfpoll/eal.hpp>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>
#include <rte_mbuf_pool_ops.h>
#include <rte_mempool.h>

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <map>
#include <mutex>

namespace halfpoll
{

bool pools_in_eal_memory = true;

namespace
{

constexpr std::size_t HUGE_PAGE = std::size_t{2} << 20;
constexpr std::size_t PAGE = 4096; // alignment of a UMEM

/// The mempool handler. With ring_mt_rts a thread may overtake a thread that is preempted in the middle of an
/// operation, by up to an eighth of the ring. That is enough unless the overtaking threads are the ones that keep the
/// preempted thread from its CPU.
const char *handler_for(pool_users users) noexcept
{
    return users == pool_users::preempted ? "lf_stack" : "ring_mt_rts";
}

struct region {
    pool_region memory;
    bool eal = false; ///< from the EAL's heap; else mapped here
};

std::mutex regions_mutex;
std::map<const rte_mempool *, region> regions;

region allocate(const std::string &what, std::size_t length)
{
    region r;
    r.memory.length = RTE_ALIGN_CEIL(length, HUGE_PAGE);
    r.eal = pools_in_eal_memory;
    if (r.eal) {
        r.memory.base = rte_malloc(nullptr, r.memory.length, PAGE);
        if (!r.memory.base) {
            throw error(what + ": " + std::to_string(r.memory.length >> 20) +
                        " MiB of contiguous EAL memory are not free; give the EAL more (memory_mb) or ask for fewer "
                        "packets");
        }
        return r;
    }
    void *p = mmap(nullptr, r.memory.length + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        throw_errno(errno, what + ": no memory");
    }
    char *base = static_cast<char *>(RTE_PTR_ALIGN_CEIL(p, HUGE_PAGE));
    const std::size_t before = static_cast<std::size_t>(base - static_cast<char *>(p));
    if (before != 0) {
        munmap(p, before);
    }
    munmap(base + r.memory.length, HUGE_PAGE - before);
    madvise(base, r.memory.length, MADV_HUGEPAGE); // only advice: the kernel refuses it where it has no huge pages
    r.memory.base = base;
    return r;
}

void release(const region &r) noexcept
{
    if (r.eal) {
        rte_free(r.memory.base);
    } else {
        munmap(r.memory.base, r.memory.length);
    }
}

/// Bytes that `count` elements need in one contiguous run.
std::size_t bytes_for(rte_mempool *pool, unsigned count)
{
    return std::size_t{count} * (pool->header_size + pool->elt_size + pool->trailer_size) + PAGE;
}

} // namespace

rte_mempool *packet_pool_create(const char *name, unsigned count, unsigned data_room, unsigned cache, pool_users users)
{
    const char *handler = handler_for(users);
    const std::string what = std::string("packet pool \"") + name + "\"";
    cache = std::min({cache, unsigned{RTE_MEMPOOL_CACHE_MAX_SIZE}, count * 2 / 3});
    // With IOVA as virtual addresses the region is contiguous for devices too, so packets may cross its pages.
    const bool va = rte_eal_iova_mode() == RTE_IOVA_VA;
    rte_mempool *pool =
        rte_mempool_create_empty(name, count, sizeof(rte_mbuf) + data_room, cache, sizeof(rte_pktmbuf_pool_private),
                                 SOCKET_ID_ANY, va ? RTE_MEMPOOL_F_NO_IOVA_CONTIG : 0);
    if (!pool) {
        throw_errno(rte_errno, what);
    }
    rte_pktmbuf_pool_private priv{};
    priv.mbuf_data_room_size = static_cast<std::uint16_t>(data_room);
    region r;
    try {
        if (const int ret = rte_mempool_set_ops_byname(pool, handler, nullptr); ret != 0) {
            throw_errno(-ret, what + ": mempool handler " + handler + " (librte_mempool_ring, librte_mempool_stack)");
        }
        rte_pktmbuf_pool_init(pool, &priv);
        r = allocate(what, bytes_for(pool, count));
        const int filled = rte_mempool_populate_iova(
            pool, static_cast<char *>(r.memory.base),
            rte_eal_iova_mode() == RTE_IOVA_VA ? reinterpret_cast<rte_iova_t>(r.memory.base) : RTE_BAD_IOVA,
            r.memory.length, nullptr, nullptr);
        if (filled < 0 || static_cast<unsigned>(filled) < count) {
            throw error(what + ": only " + std::to_string(filled) + " of " + std::to_string(count) +
                        " packets could be laid out");
        }
        rte_mempool_obj_iter(pool, rte_pktmbuf_init, nullptr);
        const std::lock_guard lock(regions_mutex);
        regions.emplace(pool, r);
    } catch (...) {
        rte_mempool_free(pool);
        if (r.memory.base) {
            release(r);
        }
        throw;
    }
    return pool;
}

pool_region packet_pool_region(const rte_mempool *pool)
{
    const std::lock_guard lock(regions_mutex);
    auto it = regions.find(pool);
    if (it == regions.end()) {
        throw error(std::string("packet pool \"") + pool->name + "\" was not made by packet_pool_create()");
    }
    return it->second.memory;
}

unsigned packet_pool_common(const rte_mempool *pool) noexcept
{
    return rte_mempool_get_ops(pool->ops_index)->get_count(pool);
}

void packet_pool_free(rte_mempool *pool) noexcept
{
    if (!pool) {
        return;
    }
    region r;
    {
        const std::lock_guard lock(regions_mutex);
        auto it = regions.find(pool);
        if (it != regions.end()) {
            r = it->second;
            regions.erase(it);
        }
    }
    rte_mempool_free(pool);
    if (r.memory.base) {
        release(r);
    }
}

} // namespace halfpoll
