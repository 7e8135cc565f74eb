// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/eal.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <xdp/xsk.h>

struct rte_mbuf;
struct rte_mempool;

namespace halfpoll
{

/// The settings that all sockets of a port share.
struct xsk_config {
    std::string ifname;
    rte_mempool *pool = nullptr;
    pool_region region;
    unsigned descriptors = 1024; ///< per ring, a power of two
    bool complete_checksums = false;
    bool force_copy = false; ///< buffers cross page boundaries, which zero-copy does not accept
};

/// Bytes at the start of a buffer in which the kernel puts no frame data, mbuf header included.
std::uint32_t xsk_frame_headroom(const rte_mempool *pool) noexcept;
/// Length in bytes of the longest frame that the kernel delivers into a buffer of the pool.
std::uint32_t xsk_max_frame(const rte_mempool *pool) noexcept;

/// Counters of a socket that the kernel keeps.
struct xsk_kernel_counters {
    std::uint64_t rx_dropped = 0, rx_ring_full = 0, rx_invalid = 0, tx_invalid = 0;
};

/// One AF_XDP socket: four rings between an interface queue and a packet pool, whose memory is the UMEM. The address of
/// a buffer in the UMEM is that of its mbuf header, so one addition converts a ring entry into an mbuf, and the kernel
/// writes only behind the header.
///
/// A buffer that the kernel holds carries the address of this object in ol_flags. Kernels keep buffers outside the
/// rings too, so close uses this mark, and not the rings, to find the buffers that must go back to the pool.
///
/// Receive functions: one thread at a time. Transmit functions: one thread at a time, which may be another one.
class xsk_queue
{
public:
    /// Registers the region, fills the fill ring and binds the socket. Throws `error`. Control thread.
    xsk_queue(const xsk_config &config, unsigned queue);
    /// Returns every buffer to the pool. Control thread, when the program no longer redirects to this socket.
    ~xsk_queue();
    xsk_queue(const xsk_queue &) = delete;
    xsk_queue &operator=(const xsk_queue &) = delete;

    int fd() const noexcept { return fd_; }
    bool zero_copy() const noexcept { return zero_copy_; }
    xsk_kernel_counters kernel_counters() const noexcept;

    std::uint16_t rx_burst(rte_mbuf **pkts, std::uint16_t n) noexcept;
    bool rx_pending() const noexcept;
    /// Whether the fill ring lacks buffers that the pool did not have.
    bool rx_starved() const noexcept { return rx_.refused != 0; }

    std::uint16_t tx_burst(rte_mbuf **pkts, std::uint16_t n) noexcept;
    /// False: the kernel left packets in the ring.
    bool tx_doorbell() noexcept;

    /// Written by the thread of the direction, read by any thread, relaxed.
    struct rx_counters {
        std::atomic<std::uint64_t> packets{0}, bytes{0}, nombuf{0};
    };
    struct tx_counters {
        std::atomic<std::uint64_t> packets{0}, bytes{0}, errors{0};
    };
    const rx_counters &rx_stats() const noexcept { return rx_.stats; }
    const tx_counters &tx_stats() const noexcept { return tx_.stats; }

private:
    struct umem_delete {
        void operator()(xsk_umem *umem) const noexcept { xsk_umem__delete(umem); }
    };
    struct socket_delete {
        void operator()(xsk_socket *socket) const noexcept { xsk_socket__delete(socket); }
    };

    int create(const xsk_config &config, unsigned queue);
    void configure_socket();
    void refill() noexcept;
    unsigned take_buffers(rte_mbuf **bufs, unsigned n) noexcept;
    rte_mbuf *take(std::uint64_t address) const noexcept;
    void mark(rte_mbuf *m) const noexcept;
    void release_marked() noexcept;
    void reclaim() noexcept;
    rte_mbuf *sendable(rte_mbuf *m) noexcept;
    rte_mbuf *copy_of(const rte_mbuf *m) noexcept;
    void put_descriptor(std::uint32_t slot, rte_mbuf *m) noexcept;

    // Constant after construction.
    char *base_ = nullptr;
    rte_mempool *pool_ = nullptr;
    std::uint32_t headroom_ = 0;
    std::uint32_t max_frame_ = 0;
    int fd_ = -1;
    bool complete_checksums_ = false;
    bool zero_copy_ = false;
    unsigned descriptors_ = 0;
    std::unique_ptr<xsk_umem, umem_delete> umem_;
    std::unique_ptr<xsk_socket, socket_delete> socket_;

    struct alignas(64) rx_side {
        xsk_ring_cons ring{};
        xsk_ring_prod fill{};
        std::uint32_t owed = 0;    ///< buffers that the fill ring must still get
        std::uint32_t refused = 0; ///< the part of `owed` that the pool has refused; it is counted in nombuf
        rx_counters stats;
    } rx_;
    struct alignas(64) tx_side {
        xsk_ring_prod ring{};
        xsk_ring_cons completion{};
        tx_counters stats;
    } tx_;
};

} // namespace halfpoll
