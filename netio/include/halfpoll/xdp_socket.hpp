// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/xdp_map.hpp>

#include <atomic>
#include <cstdint>
#include <vector>

struct rte_ring;

namespace halfpoll
{

class xdp_socket;

/// From one CPU to a socket.
struct xdp_socket_lane {
    xdp_socket *socket = nullptr;
    rte_ring *ring = nullptr;
    xdp_socket_lane *next = nullptr; ///< flush list
    bool listed = false;
    std::atomic<std::uint64_t> packets{0}; ///< home CPU writes, relaxed
};

/// A queue out of which one thread of the embedder takes packets that an xskmap leads there. What finds it full is
/// dropped (ENOBUFS). Constructed on the control thread; destroyed there or on the consumer's thread, before the pool
/// of its packets goes, which it gives back what nobody took.
class xdp_socket
{
public:
    static constexpr unsigned DEFAULT_SIZE = 2048;

    /// `size`: packets from each CPU that may wait. Throws `error`.
    explicit xdp_socket(const net_core &core, unsigned size = DEFAULT_SIZE);
    ~xdp_socket();
    xdp_socket(const xdp_socket &) = delete;
    xdp_socket &operator=(const xdp_socket &) = delete;

    /// Takes up to n packets, which are the caller's then: rte_pktmbuf_free(), or anything that ends there. Those from
    /// one CPU are in order. Never waits. Once it has returned 0, fd() becomes readable with the next packet, for as
    /// long as nothing is received; while packets keep being received nobody makes a system call. The consumer's
    /// thread.
    unsigned receive(rte_mbuf **pkts, unsigned n) noexcept;
    /// For poll() and the like; receive() empties it.
    int fd() const noexcept { return fd_; }
    /// Packets that were put in since the start. Any thread.
    std::uint64_t packets() const noexcept;

    // For halfpoll.
    xdp_socket_lane &lane(unsigned cpu) noexcept { return lanes_[cpu]; }
    /// There is something new: wakes who has nothing to do. Data cores, once per poll.
    void notify() noexcept;

private:
    void close() noexcept;
    unsigned take(rte_mbuf **pkts, unsigned n) noexcept;

    std::vector<xdp_socket_lane> lanes_; ///< by CPU
    unsigned next_ = 0;                  ///< whose packets are taken first. Consumer
    int fd_ = -1;
    /// The consumer has seen nothing and may sleep. announce() in receive(); pairs with announced() in notify(). Who
    /// takes it back rings.
    alignas(64) std::atomic<std::uint32_t> idle_{0};
};

} // namespace halfpoll
