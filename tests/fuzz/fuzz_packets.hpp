// SPDX-License-Identifier: BSD-3-Clause
//
// Packets from the bytes of a fuzzer, without EAL. Each segment lies in memory of exactly its size, so that
// AddressSanitizer detects a read or write beyond it.
//
// An input is a list of packets: two bytes with the length (low 11 bits) and the place where the packet is cut into two
// segments (high 5 bits, in sixteenths; 0 or more than 15: one segment), then that many bytes.
#pragma once

#include <rte_mbuf.h>
#include <rte_mempool.h>

#include <sanitizer/asan_interface.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

namespace halfpoll::fuzz
{

/// Aborts unless `holds`; the fuzzer then reports the input.
inline void require(bool holds)
{
    if (!holds) {
        std::abort();
    }
}

/// The pool of all segments, which returns them to the heap.
inline rte_mempool *heap_pool()
{
    static const std::int32_t ops = [] {
        rte_mempool_ops heap{};
        std::strcpy(heap.name, "fuzz_heap");
        heap.alloc = [](rte_mempool *) { return 0; };
        heap.enqueue = [](rte_mempool *, void *const *objects, unsigned n) {
            for (unsigned i = 0; i < n; ++i) {
                std::free(static_cast<rte_mbuf *>(objects[i])->buf_addr);
                std::free(objects[i]);
            }
            return 0;
        };
        heap.dequeue = [](rte_mempool *, void **, unsigned) { return -1; };
        heap.get_count = [](const rte_mempool *) { return 0U; };
        return rte_mempool_register_ops(&heap);
    }();
    static rte_mempool pool{.ops_index = ops};
    return &pool;
}

/// Makes a segment on the heap, with `headroom` and `tailroom` bytes around the data.
inline rte_mbuf *segment(const std::uint8_t *data, std::size_t size, std::size_t headroom, std::size_t tailroom)
{
    auto *m = static_cast<rte_mbuf *>(std::aligned_alloc(alignof(rte_mbuf), sizeof(rte_mbuf)));
    std::memset(static_cast<void *>(m), 0, sizeof *m);
    m->pool = heap_pool();
    m->buf_len = static_cast<std::uint16_t>(headroom + size + tailroom);
    m->buf_addr = std::malloc(headroom + size + tailroom);
    m->data_off = static_cast<std::uint16_t>(headroom);
    m->data_len = static_cast<std::uint16_t>(size);
    m->pkt_len = m->data_len;
    m->nb_segs = 1;
    rte_mbuf_refcnt_set(m, 1);
    if (size) {
        std::memcpy(rte_pktmbuf_mtod(m, void *), data, size);
    }
    return m;
}

/// Segments that are never freed or extended. For speed they are in one block, of which only their bytes are
/// accessible.
class segments
{
public:
    segments() { ASAN_POISON_MEMORY_REGION(block_, sizeof block_); }

    rte_mbuf *add(const std::uint8_t *data, std::size_t size)
    {
        rte_mbuf *m = &mbufs_[count_];
        std::memset(static_cast<void *>(m), 0, sizeof *m);
        m->buf_addr = block_ + count_++ * APART + REDZONE;
        ASAN_UNPOISON_MEMORY_REGION(m->buf_addr, size);
        if (size) {
            std::memcpy(m->buf_addr, data, size);
        }
        m->buf_len = static_cast<std::uint16_t>(size);
        m->data_len = m->buf_len;
        m->pkt_len = m->buf_len;
        m->nb_segs = 1;
        return m;
    }

    void clear()
    {
        for (; count_ > 0; --count_) {
            ASAN_POISON_MEMORY_REGION(mbufs_[count_ - 1].buf_addr, mbufs_[count_ - 1].buf_len);
        }
    }

private:
    static constexpr std::size_t REDZONE = 64, APART = 2048 + REDZONE;
    rte_mbuf mbufs_[128];
    std::size_t count_ = 0;
    alignas(64) std::uint8_t block_[128 * APART + REDZONE];
};

/// The packets of an input, at most `most` (64).
class packets
{
public:
    packets(const std::uint8_t *data, std::size_t size, unsigned most)
    {
        while (size >= 2 && count_ < most) {
            const unsigned word = data[0] | data[1] << 8, cut = word >> 11;
            const std::size_t length = std::min<std::size_t>(word & 0x7FF, size - 2);
            pkts_[count_++] = packet(data + 2, length, cut < 16 ? length * cut / 16 : 0);
            data += 2 + length;
            size -= 2 + length;
        }
    }
    ~packets() { memory().clear(); }
    packets(const packets &) = delete;
    packets &operator=(const packets &) = delete;

    rte_mbuf **data() { return pkts_; }
    unsigned size() const { return count_; }

private:
    static segments &memory()
    {
        static segments all;
        return all;
    }

    static rte_mbuf *packet(const std::uint8_t *data, std::size_t size, std::size_t cut)
    {
        rte_mbuf *m = memory().add(data, cut ? cut : size);
        if (cut) {
            m->next = memory().add(data + cut, size - cut);
            m->nb_segs = 2;
            m->pkt_len = static_cast<std::uint32_t>(size);
        }
        return m;
    }

    rte_mbuf *pkts_[64];
    unsigned count_ = 0;
};

} // namespace halfpoll::fuzz
