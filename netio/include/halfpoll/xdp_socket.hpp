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

/// The way from one CPU to a socket.
struct xdp_socket_lane {
    xdp_socket *socket = nullptr;
    rte_ring *ring = nullptr;
    xdp_socket_lane *next = nullptr;       ///< next on the CPU's flush list
    bool listed = false;                   ///< on the flush list
    std::atomic<std::uint64_t> packets{0}; ///< packets put in; the home CPU writes, any thread reads, relaxed
};

/// A queue from which one thread of the embedder, the consumer, takes packets that an xskmap redirects to it. A packet
/// that finds it full is dropped (ENOBUFS). Constructed on the control thread. Destroyed there or on the consumer's
/// thread, before the pool of its packets; the destructor frees packets that were not received.
class xdp_socket
{
public:
    static constexpr unsigned DEFAULT_SIZE = 2048;

    /// `size`: packets from each CPU that may wait. Throws `error` if there is no memory or no file descriptor.
    explicit xdp_socket(const net_core &core, unsigned size = DEFAULT_SIZE);
    ~xdp_socket();
    xdp_socket(const xdp_socket &) = delete;
    xdp_socket &operator=(const xdp_socket &) = delete;

    /// Takes up to n packets; the caller then owns them (rte_pktmbuf_free()). Packets from one CPU are in order. Never
    /// waits. After receive() has returned 0, fd() becomes readable with the next packet. While receive() keeps
    /// returning packets, neither side makes a system call. The consumer's thread.
    unsigned receive(rte_mbuf **pkts, unsigned n) noexcept;
    /// An fd for poll() and the like; receive() clears it. The socket owns it.
    int fd() const noexcept { return fd_; }
    /// Packets put in since the construction. Any thread.
    std::uint64_t packets() const noexcept;

    // Called by halfpoll only.
    xdp_socket_lane &lane(unsigned cpu) noexcept { return lanes_[cpu]; }
    /// New packets are in the lanes: wakes the consumer if it may sleep. Data CPUs, once per poll.
    void notify() noexcept;

private:
    void close() noexcept;
    unsigned take(rte_mbuf **pkts, unsigned n) noexcept;

    std::vector<xdp_socket_lane> lanes_; ///< by CPU
    unsigned next_ = 0;                  ///< lane from which the next receive() takes first. Consumer
    int fd_ = -1;
    /// The consumer has seen no packet and may sleep. Set by announce() in receive(); pairs with announced() in
    /// notify(). The producer that resets it writes to fd_.
    alignas(64) std::atomic<std::uint32_t> idle_{0};
};

} // namespace halfpoll
