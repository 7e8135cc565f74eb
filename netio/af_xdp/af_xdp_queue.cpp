// SPDX-License-Identifier: BSD-3-Clause
#include "af_xdp_queue.hpp"

#include "af_xdp_csum.hpp"
#include "af_xdp_retry.hpp"

#include <halfpoll/error.hpp>
#include <halfpoll/stat_add.hpp>

#include <rte_ether.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_prefetch.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sys/socket.h>

namespace halfpoll
{

namespace
{

constexpr unsigned BULK = 64;           ///< buffers moved between pool and rings at a time
constexpr unsigned REFILL = 32;         ///< buffers owed that justify a refill from the pool
constexpr std::uint32_t XDP_ROOM = 256; ///< XDP_PACKET_HEADROOM: room that the kernel leaves in front of the data
constexpr int MAX_TX_BUDGET_OPTION = 9; ///< XDP_MAX_TX_SKB_BUDGET, kernel >= 6.17; not in older headers

std::string remedy(int errnum)
{
    switch (errnum) {
    case EPERM:
        return " (needs CAP_NET_RAW and CAP_NET_ADMIN)";
    case ENOBUFS:
        return " (locked memory: raise RLIMIT_MEMLOCK or grant CAP_IPC_LOCK)";
    case EAFNOSUPPORT:
        return " (the kernel lacks CONFIG_XDP_SOCKETS)";
    case EBUSY:
        return " (another AF_XDP socket is bound to it; stop its owner)";
    default:
        return "";
    }
}

} // namespace

std::uint32_t xsk_frame_headroom(const rte_mempool *pool) noexcept
{
    return sizeof(rte_mbuf) + rte_pktmbuf_priv_size(const_cast<rte_mempool *>(pool));
}

std::uint32_t xsk_max_frame(const rte_mempool *pool) noexcept
{
    const std::uint32_t room = rte_pktmbuf_data_room_size(const_cast<rte_mempool *>(pool));
    return room > XDP_ROOM ? room - XDP_ROOM : 0;
}

xsk_queue::xsk_queue(const xsk_config &config, unsigned queue)
    : base_(static_cast<char *>(config.region.base)), pool_(config.pool), headroom_(xsk_frame_headroom(config.pool)),
      max_frame_(xsk_max_frame(config.pool)), complete_checksums_(config.complete_checksums),
      descriptors_(config.descriptors)
{
    int err = -retry_while_busy([&] { return create(config, queue); });
    if (err != 0) {
        // libxdp asks the C library for the interface's number; that error means that it had no descriptor for this.
        err = err == ENOENT ? EMFILE : err;
        throw_errno(err, "af_xdp:" + config.ifname + ": cannot open an AF_XDP socket on queue " +
                             std::to_string(queue) + remedy(err));
    }
    fd_ = xsk_socket__fd(socket_.get());
    configure_socket();
    rx_.owed = descriptors_;
    refill();
    if (rx_.owed > 0) {
        socket_.reset();
        umem_.reset();
        release_marked();
        throw error("af_xdp:" + config.ifname + ": the packet pool has no " + std::to_string(descriptors_) +
                    " free buffers for queue " + std::to_string(queue) + "; make the pool larger");
    }
}

/// Returns 0 or -errno, the error of xsk_umem__create() or xsk_socket__create_shared(); then nothing is left behind.
int xsk_queue::create(const xsk_config &config, unsigned queue)
{
    xsk_umem_config umem_config{};
    umem_config.fill_size = descriptors_;
    umem_config.comp_size = descriptors_;
    umem_config.frame_size = headroom_ + rte_pktmbuf_data_room_size(pool_);
    umem_config.frame_headroom = headroom_;
    umem_config.flags = XDP_UMEM_UNALIGNED_CHUNK_FLAG;
    xsk_umem *umem = nullptr;
    if (const int err = xsk_umem__create(&umem, base_, config.region.length, &rx_.fill, &tx_.completion, &umem_config);
        err != 0) {
        return err;
    }
    umem_.reset(umem);

    xsk_socket_config socket_config{};
    socket_config.rx_size = descriptors_;
    socket_config.tx_size = descriptors_;
    socket_config.libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD;
    socket_config.bind_flags = XDP_USE_NEED_WAKEUP | (config.force_copy ? XDP_COPY : 0);
    xsk_socket *socket = nullptr;
    if (const int err = xsk_socket__create_shared(&socket, config.ifname.c_str(), queue, umem, &rx_.ring, &tx_.ring,
                                                  &rx_.fill, &tx_.completion, &socket_config);
        err != 0) {
        umem_.reset();
        return err;
    }
    socket_.reset(socket);
    return 0;
}

/// Both settings only save system calls; the socket also works on a kernel that refuses them.
void xsk_queue::configure_socket()
{
    xdp_options options{};
    socklen_t length = sizeof options;
    zero_copy_ =
        getsockopt(fd_, SOL_XDP, XDP_OPTIONS, &options, &length) == 0 && (options.flags & XDP_OPTIONS_ZEROCOPY);
    // In copy mode a send turns at most this many descriptors into packets (by default 32) ...
    const int budget = static_cast<int>(descriptors_);
    setsockopt(fd_, SOL_XDP, MAX_TX_BUDGET_OPTION, &budget, sizeof budget);
    // ... and at most as many as the send buffer takes, which is charged a page and an skb for each.
    const int bytes = static_cast<int>(std::min<std::uint64_t>(descriptors_ * 4096ULL, INT32_MAX / 2));
    setsockopt(fd_, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes);
}

xsk_queue::~xsk_queue()
{
    socket_.reset();
    umem_.reset();
    release_marked();
}

xsk_kernel_counters xsk_queue::kernel_counters() const noexcept
{
    xdp_statistics s{};
    socklen_t length = sizeof s;
    if (getsockopt(fd_, SOL_XDP, XDP_STATISTICS, &s, &length) != 0) {
        return {};
    }
    return {s.rx_dropped, s.rx_ring_full, s.rx_invalid_descs, s.tx_invalid_descs};
}

// ---- buffers ----

void xsk_queue::mark(rte_mbuf *m) const noexcept
{
    // Relaxed: release_marked() of another port may read the flags at the same time.
    __atomic_store_n(&m->ol_flags, reinterpret_cast<std::uint64_t>(this), __ATOMIC_RELAXED);
}

/// The mbuf of a ring entry that the kernel has given back.
rte_mbuf *xsk_queue::take(std::uint64_t address) const noexcept
{
    return reinterpret_cast<rte_mbuf *>(base_ + xsk_umem__extract_addr(address));
}

/// Called when the sockets are closed, so that the kernel holds no buffer any more.
void xsk_queue::release_marked() noexcept
{
    rte_mempool_obj_iter(
        pool_,
        [](rte_mempool *pool, void *self, void *object, unsigned) {
            auto *m = static_cast<rte_mbuf *>(object);
            if (__atomic_load_n(&m->ol_flags, __ATOMIC_RELAXED) == reinterpret_cast<std::uint64_t>(self)) {
                m->ol_flags = 0;
                rte_mempool_put(pool, m);
            }
        },
        this);
}

// ---- receive ----

/// Takes up to n buffers, as many as the pool has.
unsigned xsk_queue::take_buffers(rte_mbuf **bufs, unsigned n) noexcept
{
    while (n > 0 && rte_mempool_get_bulk(pool_, reinterpret_cast<void **>(bufs), n) != 0) {
        n /= 2; // the pool gives all or none; it may have fewer
    }
    return n;
}

/// Gives the owed buffers to the fill ring, as many as the pool has; the others stay owed.
void xsk_queue::refill() noexcept
{
    rte_mbuf *bufs[BULK];
    while (rx_.owed > 0) {
        const unsigned n = take_buffers(bufs, std::min(rx_.owed, BULK));
        if (n == 0) {
            break;
        }
        std::uint32_t slot = 0;
        if (xsk_ring_prod__reserve(&rx_.fill, n, &slot) != n) {
            rte_mempool_put_bulk(pool_, reinterpret_cast<void *const *>(bufs), n);
            return;
        }
        for (unsigned i = 0; i < n; i++) {
            mark(bufs[i]);
            *xsk_ring_prod__fill_addr(&rx_.fill, slot + i) =
                static_cast<std::uint64_t>(reinterpret_cast<char *>(bufs[i]) - base_);
        }
        xsk_ring_prod__submit(&rx_.fill, n);
        rx_.owed -= n;
    }
    if (rx_.owed > rx_.refused) {
        stat_add(rx_.stats.nombuf, rx_.owed - rx_.refused);
    }
    rx_.refused = rx_.owed;
}

std::uint16_t xsk_queue::rx_burst(rte_mbuf **pkts, std::uint16_t n) noexcept
{
    std::uint32_t slot = 0;
    const std::uint32_t got = xsk_ring_cons__peek(&rx_.ring, n, &slot);
    std::uint64_t bytes = 0;
    for (std::uint32_t i = 0; i < got; i++) {
        rte_prefetch0(take(xsk_ring_cons__rx_desc(&rx_.ring, slot + i)->addr));
    }
    for (std::uint32_t i = 0; i < got; i++) {
        const xdp_desc desc = *xsk_ring_cons__rx_desc(&rx_.ring, slot + i);
        rte_mbuf *m = take(desc.addr);
        m->data_off = static_cast<std::uint16_t>(xsk_umem__extract_offset(desc.addr) - headroom_);
        m->port = RTE_MBUF_PORT_INVALID;
        __atomic_store_n(&m->ol_flags, 0, __ATOMIC_RELAXED); // clears the mark, see mark()
        m->packet_type = 0;
        m->pkt_len = desc.len;
        m->data_len = static_cast<std::uint16_t>(desc.len);
        m->vlan_tci = 0;
        rte_prefetch0(rte_pktmbuf_mtod(m, void *));
        bytes += desc.len;
        pkts[i] = m;
    }
    if (got > 0) {
        xsk_ring_cons__release(&rx_.ring, got);
        rx_.owed += got;
        stat_add(rx_.stats.packets, got);
        stat_add(rx_.stats.bytes, bytes);
        if (complete_checksums_) {
            for (std::uint32_t i = 0; i < got; i++) {
                complete_partial_checksum(rte_pktmbuf_mtod(pkts[i], std::uint8_t *), pkts[i]->data_len);
            }
        }
    }
    if (rx_.owed >= REFILL || (rx_.owed > 0 && got == 0)) {
        refill();
    }
    if (zero_copy_ && xsk_ring_prod__needs_wakeup(&rx_.fill)) {
        recvfrom(fd_, nullptr, 0, MSG_DONTWAIT, nullptr, nullptr);
    }
    return static_cast<std::uint16_t>(got);
}

bool xsk_queue::rx_pending() const noexcept
{
    return __atomic_load_n(rx_.ring.producer, __ATOMIC_ACQUIRE) != rx_.ring.cached_cons;
}

// ---- transmit ----

/// Takes back the buffers that the kernel has sent, and returns them to the pool.
void xsk_queue::reclaim() noexcept
{
    rte_mbuf *bufs[BULK];
    std::uint32_t slot = 0;
    while (const std::uint32_t n = xsk_ring_cons__peek(&tx_.completion, BULK, &slot)) {
        for (std::uint32_t i = 0; i < n; i++) {
            bufs[i] = take(*xsk_ring_cons__comp_addr(&tx_.completion, slot + i));
            __atomic_store_n(&bufs[i]->ol_flags, 0, __ATOMIC_RELAXED); // clears the mark, see mark()
        }
        xsk_ring_cons__release(&tx_.completion, n);
        rte_mempool_put_bulk(pool_, reinterpret_cast<void *const *>(bufs), n);
    }
}

/// A linear copy in a buffer of this pool; null: no buffer is free.
rte_mbuf *xsk_queue::copy_of(const rte_mbuf *m) noexcept
{
    rte_mbuf *copy = rte_pktmbuf_alloc(pool_);
    if (!copy) {
        return nullptr;
    }
    auto *to = reinterpret_cast<char *>(rte_pktmbuf_append(copy, static_cast<std::uint16_t>(m->pkt_len)));
    for (const rte_mbuf *segment = m; segment; segment = segment->next) {
        std::memcpy(to, rte_pktmbuf_mtod(segment, const char *), segment->data_len);
        to += segment->data_len;
    }
    return copy;
}

/// Returns `m` if the kernel may read it and give it back, else a copy. Takes ownership of `m`. Null: the packet was
/// dropped.
rte_mbuf *xsk_queue::sendable(rte_mbuf *m) noexcept
{
    const bool sized = m->pkt_len >= RTE_ETHER_HDR_LEN && m->pkt_len <= max_frame_;
    if (sized && m->pool == pool_ && m->nb_segs == 1 && RTE_MBUF_DIRECT(m) && rte_mbuf_refcnt_read(m) == 1) {
        return m;
    }
    rte_mbuf *copy = sized ? copy_of(m) : nullptr;
    rte_pktmbuf_free(m);
    return copy;
}

void xsk_queue::put_descriptor(std::uint32_t slot, rte_mbuf *m) noexcept
{
    xdp_desc *desc = xsk_ring_prod__tx_desc(&tx_.ring, slot);
    const auto address = static_cast<std::uint64_t>(reinterpret_cast<char *>(m) - base_);
    const std::uint64_t offset = headroom_ + m->data_off;
    desc->addr = address | offset << XSK_UNALIGNED_BUF_OFFSET_SHIFT;
    desc->len = m->pkt_len;
    desc->options = 0;
}

std::uint16_t xsk_queue::tx_burst(rte_mbuf **pkts, std::uint16_t n) noexcept
{
    reclaim();
    const auto room = static_cast<std::uint16_t>(std::min<std::uint32_t>(n, xsk_prod_nb_free(&tx_.ring, n)));
    std::uint64_t bytes = 0, errors = 0;
    std::uint32_t sent = 0;
    const std::uint32_t slot = tx_.ring.cached_prod;
    for (std::uint16_t i = 0; i < room; i++) {
        rte_mbuf *m = sendable(pkts[i]);
        if (!m) {
            errors++;
            continue;
        }
        bytes += m->pkt_len;
        put_descriptor(slot + sent, m);
        mark(m);
        sent++;
    }
    tx_.ring.cached_prod += sent;
    xsk_ring_prod__submit(&tx_.ring, sent);
    stat_add(tx_.stats.packets, sent);
    stat_add(tx_.stats.bytes, bytes);
    stat_add(tx_.stats.errors, errors);
    return room;
}

bool xsk_queue::tx_doorbell() noexcept
{
    const bool pending = __atomic_load_n(tx_.ring.consumer, __ATOMIC_ACQUIRE) != tx_.ring.cached_prod;
    if (!pending || !xsk_ring_prod__needs_wakeup(&tx_.ring)) {
        return true;
    }
    const int result = sendto(fd_, nullptr, 0, MSG_DONTWAIT, nullptr, 0) < 0 ? errno : 0;
    reclaim();
    if (result != 0 && result != EAGAIN && result != EBUSY && result != ENOBUFS) {
        return true; // the interface is down or gone, which no retry mends; the link event reports it
    }
    return zero_copy_ ? result == 0 : __atomic_load_n(tx_.ring.consumer, __ATOMIC_ACQUIRE) == tx_.ring.cached_prod;
}

} // namespace halfpoll
