// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/error.hpp>

#include <rte_mbuf.h>
#include <rte_mbuf_dyn.h>
#include <rte_mempool.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <vector>

namespace halfpoll::test
{

/// Records the holder and the fate of each packet. A packet carries its holder in a field of the mbuf that the pool
/// leaves alone. If a packet comes out of the pool, or out of a queue, while it has a holder, it was freed or sent
/// twice.
class ledger
{
public:
    /// Packets from `source` by one path. They keep their order, and may be dropped.
    struct flow {
        std::uint32_t next_sent = 0;        ///< accessed in the source's section
        std::uint32_t next_got = 0;         ///< accessed by the receivers, one at a time; not atomic, so that race
                                            ///< checkers can verify that
        std::atomic<std::uint64_t> sent{0}; ///< relaxed counters, with the same writers
        std::atomic<std::uint64_t> got{0};
    };

    ledger(unsigned sources, unsigned paths) : paths_(paths), flows_(std::size_t{sources} * paths)
    {
        const rte_mbuf_dynfield field{.name = "halfpoll_test_holder", .size = 4, .align = 4, .flags = 0};
        offset_ = rte_mbuf_dynfield_register(&field);
        if (offset_ < 0) {
            throw error("no room in the mbuf for its holder");
        }
    }

    /// Records that the packet came out of the pool.
    void allocated(rte_mbuf &m, unsigned who)
    {
        const std::uint32_t before = holder(m).exchange(held_by(who), std::memory_order_relaxed);
        if (before > GIVEN) {
            wrong("allocated while somebody holds it", m, before);
        }
    }
    /// Records that `who` passes the packet to another owner that may free it: to a queue with a stamp, or directly.
    void give(rte_mbuf &m, unsigned who)
    {
        const std::uint32_t before = holder(m).exchange(GIVEN, std::memory_order_relaxed);
        if (before != held_by(who)) {
            wrong("given away by who does not hold it", m, before);
        }
    }
    void send(rte_mbuf &m, unsigned who, unsigned path)
    {
        const std::uint32_t number = who * paths_ + path;
        flow &f = flows_[number];
        *stamp_of(m) = {number, f.next_sent++};
        f.sent.store(f.sent.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
        give(m, who);
    }
    /// Undoes send(): the packet was not accepted.
    void keep(rte_mbuf &m, unsigned who)
    {
        flow &f = flows_[stamp_of(m)->flow];
        f.sent.store(f.sent.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
        take(m, who);
    }
    /// Records the arrival of a packet; returns its path.
    unsigned receive(rte_mbuf &m, unsigned who)
    {
        take(m, who);
        const stamp s = *stamp_of(m);
        flow &f = flows_[s.flow];
        if (static_cast<std::int32_t>(s.number - f.next_got) < 0) {
            wrong("overtaken, or here for the second time", m, s.number);
        }
        f.next_got = s.number + 1;
        f.got.store(f.got.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
        return s.flow % paths_;
    }
    /// Records another error.
    void complain(const char *what)
    {
        if (errors_.fetch_add(1, std::memory_order_relaxed) < 10) {
            std::fprintf(stderr, "%s\n", what);
        }
    }
    /// Call when the pool is no longer used. Returns true if each of its packets is in it, once.
    bool balanced(rte_mempool *pool)
    {
        unsigned count = 0;
        void *object;
        std::vector<void *> all;
        while (rte_mempool_get(pool, &object) == 0 && count <= pool->size) {
            ++count;
            allocated(*static_cast<rte_mbuf *>(object), 0);
            all.push_back(object);
        }
        if (count != pool->size) {
            std::fprintf(stderr, "%u of the pool's %u packets are there\n", count, pool->size);
        }
        rte_mempool_put_bulk(pool, all.data(), count < pool->size ? count : pool->size);
        return count == pool->size;
    }

    std::uint64_t sent() const { return sum(&flow::sent); }
    std::uint64_t got() const { return sum(&flow::got); }
    std::uint64_t got_by(unsigned path) const
    {
        std::uint64_t n = 0;
        for (std::size_t i = path; i < flows_.size(); i += paths_) {
            n += flows_[i].got.load(std::memory_order_relaxed);
        }
        return n;
    }
    std::uint64_t errors() const { return errors_.load(std::memory_order_relaxed); }

private:
    static constexpr std::uint32_t GIVEN = 1; ///< less: never held; greater: held
    struct stamp {
        std::uint32_t flow, number;
    };

    static std::uint32_t held_by(unsigned who) { return GIVEN + 1 + who; }
    std::atomic_ref<std::uint32_t> holder(rte_mbuf &m) const
    {
        return std::atomic_ref(*RTE_MBUF_DYNFIELD(&m, offset_, std::uint32_t *));
    }
    static stamp *stamp_of(rte_mbuf &m) { return rte_pktmbuf_mtod(&m, stamp *); }
    void take(rte_mbuf &m, unsigned who)
    {
        const std::uint32_t before = holder(m).exchange(held_by(who), std::memory_order_relaxed);
        if (before != GIVEN) {
            wrong("arrived though it was not sent", m, before);
        }
    }
    void wrong(const char *what, rte_mbuf &m, std::uint32_t detail)
    {
        if (errors_.fetch_add(1, std::memory_order_relaxed) < 10) {
            const stamp s = *stamp_of(m);
            std::fprintf(stderr, "packet %p, number %u of flow %u by path %u: %s (%u)\n", static_cast<void *>(&m),
                         s.number, s.flow / paths_, s.flow % paths_, what, detail);
        }
    }
    std::uint64_t sum(std::atomic<std::uint64_t> flow::*counter) const
    {
        std::uint64_t n = 0;
        for (const flow &f : flows_) {
            n += (f.*counter).load(std::memory_order_relaxed);
        }
        return n;
    }

    const unsigned paths_;
    std::vector<flow> flows_;
    int offset_ = -1;
    std::atomic<std::uint64_t> errors_{0};
};

} // namespace halfpoll::test
