// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/net_device.hpp>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

namespace halfpoll
{

struct net_cpu;

/// A position on one side of a ring. Both counters wrap.
struct backlog_place {
    std::uint32_t slots = 0;
    std::uint32_t packets = 0;
};

class backlog_ring;

/// Membership of a ring in one of its producer's lists.
struct backlog_list_entry {
    backlog_ring *next = nullptr;
    bool listed = false;
};

/// A position that one side publishes for the other: both counters in one store.
class backlog_index
{
public:
    void publish(backlog_place place) noexcept { value_.store(pack(place), std::memory_order_release); }
    backlog_place read() const noexcept { return unpack(value_.load(std::memory_order_acquire)); }
    /// Reads the position without synchronizing with the publisher.
    backlog_place peek() const noexcept { return unpack(value_.load(std::memory_order_relaxed)); }

private:
    static std::uint64_t pack(backlog_place p) noexcept { return std::uint64_t{p.packets} << 32 | p.slots; }
    static backlog_place unpack(std::uint64_t v) noexcept
    {
        return {static_cast<std::uint32_t>(v), static_cast<std::uint32_t>(v >> 32)};
    }
    std::atomic<std::uint64_t> value_{0}; ///< release in publish(); pairs with the acquire in read()
};

/// The packets of one producing CPU on their way to one target CPU. A slot holds a packet, or (with bit 0 set) the
/// device from which the packets behind it came. The device is present only where it changes, so that it costs nothing
/// for most packets. Apart from the slots, neither side writes a cache line of the other side.
class backlog_ring
{
public:
    /// `slots` is a power of two. Throws `error` if there is no memory. Control thread.
    static backlog_ring *create(net_cpu &target, unsigned slots);
    /// Frees the ring and the packets in it, when neither side uses it any more. Control thread.
    static void destroy(backlog_ring *ring) noexcept;
    net_cpu &target() const noexcept { return target_; }

    // --- producing CPU ---
    /// Free slots. Reads the target's position again only if there seem to be fewer than `wanted`.
    std::uint32_t room(std::uint32_t wanted) noexcept
    {
        if (size_ - (put_.slots - seen_head_.slots) < wanted) {
            seen_head_ = head_.read();
        }
        return size_ - (put_.slots - seen_head_.slots);
    }
    /// Packets not known to be delivered. `fresh`: reads the target's position again.
    std::uint32_t length(bool fresh) noexcept
    {
        if (fresh) {
            seen_head_ = head_.read();
        }
        return put_.packets - seen_head_.packets;
    }
    /// Stages packets. The caller has checked that there is room for them and one slot more.
    void put(net_device &in, rte_mbuf *const *pkts, std::uint32_t n) noexcept
    {
        if (put_device_ != &in) {
            put_device_ = &in;
            slots_[put_.slots++ & (size_ - 1)] = reinterpret_cast<std::uintptr_t>(&in) | DEVICE;
        }
        const std::uint32_t at = put_.slots & (size_ - 1);
        const std::uint32_t first = std::min(n, size_ - at);
        copy(pkts, first, &slots_[at]);
        copy(pkts + first, n - first, &slots_[0]);
        put_.slots += n;
        put_.packets += n;
    }
    void publish() noexcept { tail_.publish(put_); }
    std::uint32_t tail() const noexcept { return put_.packets; }
    std::uint32_t head() const noexcept { return head_.read().packets; }
    void count_drops(std::uint64_t n) noexcept
    {
        dropped_.store(dropped_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
    }
    backlog_list_entry &staged() noexcept { return staged_; } ///< list of rings with unpublished packets
    /// List of published rings whose target may be idle.
    backlog_list_entry &unchecked() noexcept { return unchecked_; }

    // --- target CPU ---
    /// Takes up to n packets that came from one device, and stores that in `in`. 0: the ring is empty.
    std::uint32_t take(net_device *&in, rte_mbuf **pkts, std::uint32_t n) noexcept
    {
        if (taken_.slots == process_.peek().slots) {
            // The packets put so far are taken from now on without reading the producer's position.
            process_.publish(tail_.read());
        }
        const std::uint32_t end = process_.peek().slots;
        std::uint32_t got = 0;
        for (; got < n && taken_.slots != end; ++taken_.slots) {
            const std::uintptr_t slot = slots_[taken_.slots & (size_ - 1)];
            if (!(slot & DEVICE)) {
                pkts[got++] = reinterpret_cast<rte_mbuf *>(slot);
            } else if (got == 0) {
                taken_device_ = reinterpret_cast<net_device *>(slot & ~DEVICE);
            } else {
                break;
            }
        }
        in = taken_device_;
        taken_.packets += got;
        return got;
    }
    /// Publishes that all packets taken so far have been delivered.
    void deliver() noexcept
    {
        if (head_.peek().slots != taken_.slots) {
            head_.publish(taken_);
        }
    }
    /// Whether packets are visible that were not taken.
    bool pending() const noexcept { return tail_.read().slots != taken_.slots; }

    // --- any thread ---
    std::uint64_t dropped() const noexcept { return dropped_.load(std::memory_order_relaxed); }
    /// Packets in the hands of the target and not delivered; packets published and not seen by the target.
    std::pair<std::uint32_t, std::uint32_t> lengths() const noexcept
    {
        const backlog_place head = head_.read(), process = process_.read(), tail = tail_.read();
        return {process.packets - head.packets, tail.packets - process.packets};
    }
    /// Packets that are visible and not delivered.
    std::uint32_t visible() const noexcept
    {
        const backlog_place head = head_.read();
        return tail_.read().packets - head.packets;
    }

private:
    static constexpr std::uintptr_t DEVICE = 1;

    backlog_ring(net_cpu &target, std::uintptr_t *slots, std::uint32_t size) noexcept
        : target_(target), slots_(slots), size_(size)
    {
    }
    static void copy(rte_mbuf *const *pkts, std::uint32_t n, std::uintptr_t *slots) noexcept
    {
        for (std::uint32_t i = 0; i < n; ++i) {
            slots[i] = reinterpret_cast<std::uintptr_t>(pkts[i]);
        }
    }

    // Shared by both sides, constant. The groups are two lines apart, because hardware may fetch lines in pairs.
    net_cpu &target_;
    std::uintptr_t *const slots_;
    const std::uint32_t size_;

    // The producer's members.
    alignas(128) backlog_place put_; ///< position after the packets staged so far
    backlog_place seen_head_;        ///< head_ when it was last read
    net_device *put_device_ = nullptr;
    backlog_list_entry staged_, unchecked_;
    std::atomic<std::uint64_t> dropped_{0}; ///< relaxed; the producer writes

    alignas(128) backlog_index tail_; ///< from the producer: published. publish() pairs with read() in take()
    alignas(128) backlog_index head_; ///< from the target: delivered. deliver() pairs with the reads of the producer

    // The target's members.
    alignas(128) backlog_place taken_;
    net_device *taken_device_ = nullptr;
    backlog_index process_; ///< tail_ when it was last read; published only for lengths()
};

} // namespace halfpoll
