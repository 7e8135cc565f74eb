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

/// Where one side of a ring is. Both wrap.
struct backlog_place {
    std::uint32_t slots = 0;
    std::uint32_t packets = 0;
};

class backlog_ring;

/// A ring on one of its producer's lists.
struct backlog_list_entry {
    backlog_ring *next = nullptr;
    bool listed = false;
};

/// A place that one side publishes for the other: both counts at once.
class backlog_index
{
public:
    void publish(backlog_place place) noexcept { value_.store(pack(place), std::memory_order_release); }
    backlog_place read() const noexcept { return unpack(value_.load(std::memory_order_acquire)); }
    /// Without what was published with it.
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
/// device that the packets behind it came from: it is there only where the device changes, so that who travels with a
/// packet costs nothing. Neither side writes a cache line of the other's but the slots.
class backlog_ring
{
public:
    /// `slots` is a power of two. Throws `error`. Control thread.
    static backlog_ring *create(net_cpu &target, unsigned slots);
    /// Frees what is in it. After both sides have gone. Control thread.
    static void destroy(backlog_ring *ring) noexcept;
    net_cpu &target() const noexcept { return target_; }

    // --- producing CPU ---
    /// Free slots, looked up anew only if there seem to be fewer than `wanted`.
    std::uint32_t room(std::uint32_t wanted) noexcept
    {
        if (size_ - (put_.slots - seen_head_.slots) < wanted) {
            seen_head_ = head_.read();
        }
        return size_ - (put_.slots - seen_head_.slots);
    }
    /// Packets not known to be delivered; `fresh`: as of now.
    std::uint32_t length(bool fresh) noexcept
    {
        if (fresh) {
            seen_head_ = head_.read();
        }
        return put_.packets - seen_head_.packets;
    }
    /// Stages packets; there is room for them and one slot more.
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
    backlog_list_entry &staged() noexcept { return staged_; }       ///< not published
    backlog_list_entry &unchecked() noexcept { return unchecked_; } ///< published; does the target look?

    // --- target CPU ---
    /// Takes up to n packets that came from one device, in `in`. 0: none is left.
    std::uint32_t take(net_device *&in, rte_mbuf **pkts, std::uint32_t n) noexcept
    {
        if (taken_.slots == process_.peek().slots) {
            process_.publish(tail_.read()); // everything put so far is looked at from now on, without the other side
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
    /// Everything that was taken has been delivered.
    void deliver() noexcept
    {
        if (head_.peek().slots != taken_.slots) {
            head_.publish(taken_);
        }
    }
    /// Something is visible that was not taken.
    bool pending() const noexcept { return tail_.read().slots != taken_.slots; }

    // --- any thread ---
    std::uint64_t dropped() const noexcept { return dropped_.load(std::memory_order_relaxed); }
    /// Packets looked at and not delivered, and packets put and not looked at.
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

    // Both sides', constant. Groups are two lines apart, for hardware that fetches lines in pairs.
    net_cpu &target_;
    std::uintptr_t *const slots_;
    const std::uint32_t size_;

    // The producer's own.
    alignas(128) backlog_place put_; ///< staged and published
    backlog_place seen_head_;        ///< the head, when it was last looked up
    net_device *put_device_ = nullptr;
    backlog_list_entry staged_, unchecked_;
    std::atomic<std::uint64_t> dropped_{0}; ///< relaxed; the producer writes

    alignas(128) backlog_index tail_; ///< from the producer: published. publish(); pairs with read() in take()
    alignas(128) backlog_index head_; ///< from the target: delivered. deliver(); pairs with the reads of the producer

    // The target's own.
    alignas(128) backlog_place taken_;
    net_device *taken_device_ = nullptr;
    backlog_index process_; ///< the tail, when it was last looked up; published for lengths() alone
};

} // namespace halfpoll
