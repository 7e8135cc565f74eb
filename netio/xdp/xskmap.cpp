// SPDX-License-Identifier: BSD-3-Clause
#define RTE_USE_C11_MEM_MODEL // as in handover.cpp
#include <halfpoll/stat_add.hpp>
#include <halfpoll/xdp_socket.hpp>

#include "redirect_map.hpp"

#include "runtime/base/announce.hpp"

#include <rte_branch_prediction.h>
#include <rte_errno.h>
#include <rte_mbuf.h>
#include <rte_ring.h>

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>

namespace halfpoll
{

namespace
{

rte_ring *make_ring(unsigned size)
{
    static std::atomic<unsigned> serial{0}; // ring names are process-wide
    const std::string name = "xsk" + std::to_string(serial.fetch_add(1, std::memory_order_relaxed));
    rte_ring *ring =
        rte_ring_create(name.c_str(), size, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ | RING_F_EXACT_SZ);
    if (!ring) {
        throw_errno(rte_errno, "no ring for an XDP socket of " + std::to_string(size) +
                                   " packets (more EAL memory, or a smaller socket?)");
    }
    return ring;
}

} // namespace

xdp_socket::xdp_socket(const net_core &core, unsigned size) : lanes_(core.cpus())
{
    try {
        for (xdp_socket_lane &lane : lanes_) {
            lane.socket = this;
            lane.ring = make_ring(size);
        }
        fd_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (fd_ < 0) {
            throw_errno(errno, "no eventfd for an XDP socket");
        }
    } catch (...) {
        close();
        throw;
    }
}

xdp_socket::~xdp_socket() { close(); }

void xdp_socket::close() noexcept
{
    for (xdp_socket_lane &lane : lanes_) {
        void *m;
        while (lane.ring && rte_ring_sc_dequeue(lane.ring, &m) == 0) {
            rte_pktmbuf_free(static_cast<rte_mbuf *>(m));
        }
        rte_ring_free(lane.ring);
    }
    if (fd_ >= 0) {
        ::close(fd_);
    }
}

unsigned xdp_socket::take(rte_mbuf **pkts, unsigned n) noexcept
{
    const unsigned lanes = static_cast<unsigned>(lanes_.size());
    unsigned got = 0;
    for (unsigned i = 0; i < lanes && got < n; ++i) {
        rte_ring *ring = lanes_[(next_ + i) % lanes].ring;
        got += rte_ring_sc_dequeue_burst(ring, reinterpret_cast<void **>(pkts + got), n - got, nullptr);
    }
    next_ = (next_ + 1) % lanes;
    return got;
}

unsigned xdp_socket::receive(rte_mbuf **pkts, unsigned n) noexcept
{
    if (const unsigned got = take(pkts, n)) {
        return got;
    }
    std::uint64_t count;
    if (read(fd_, &count, sizeof count) < 0) {
        // No producer has written to it.
    }
    announce(idle_);
    const unsigned got = take(pkts, n);
    if (got != 0) {
        idle_.store(0, std::memory_order_relaxed);
    }
    return got;
}

void xdp_socket::notify() noexcept
{
    if (announced(idle_) && idle_.exchange(0, std::memory_order_acq_rel) != 0) {
        const std::uint64_t one = 1;
        if (write(fd_, &one, sizeof one) < 0) {
            // It is already readable.
        }
    }
}

std::uint64_t xdp_socket::packets() const noexcept
{
    std::uint64_t sum = 0;
    for (const xdp_socket_lane &lane : lanes_) {
        sum += lane.packets.load(std::memory_order_relaxed);
    }
    return sum;
}

/// An entry of the map: a socket, or an interface with another process behind it. It never changes after it is linked.
struct xskmap_entry {
    std::uint32_t key;
    net_device *dev;
    std::shared_ptr<xdp_socket> socket;
    std::atomic<xskmap_entry *> next{nullptr};

    xdp_map_entry shown() const { return {.key = key, .ifindex = dev ? dev->ifindex : ifindex_t{0}, .socket = socket}; }
    bool leads_to(const net_device &to) const noexcept { return dev == &to; }
};

class xskmap final : public redirect_map<xskmap_entry>
{
public:
    xskmap(net_core &core, std::string map_name, unsigned entries)
        : redirect_map(core, std::move(map_name), xdp_map_type::xskmap, entries)
    {
    }
    void update(const xdp_map_entry &entry, std::uint64_t flags) override;
};

void xskmap::update(const xdp_map_entry &entry, std::uint64_t flags)
{
    net_device *dev = core_.dev_get(entry.ifindex);
    if ((dev != nullptr) == (entry.socket != nullptr)) {
        throw error("XDP map " + name + ": an entry is either a socket or an interface that exists");
    }
    if (entry.prog) {
        throw error("XDP map " + name + ": entries of an xskmap have no program");
    }
    check(entry.key, flags);
    link(std::unique_ptr<xskmap_entry>(new xskmap_entry{entry.key, dev, entry.socket}));
}

std::shared_ptr<xdp_map> make_xskmap(net_core &core, std::string name, unsigned max_entries)
{
    return std::make_shared<xskmap>(core, std::move(name), max_entries);
}

bool xskmap_redirect(const redirect_guard &guard, const redirect_run &run) noexcept
{
    const xskmap_entry *entry = static_cast<const xskmap &>(*run.target().map).table().lookup(run.target().key);
    if (unlikely(!entry)) {
        return false;
    }
    if (entry->dev) {
        dev_redirect(guard, run, *entry->dev);
        return true;
    }
    xdp_socket_lane &lane = entry->socket->lane(run.cpu.id);
    const unsigned taken = rte_ring_sp_enqueue_burst(lane.ring, reinterpret_cast<void **>(run.pkts()), run.n, nullptr);
    stat_add(lane.packets, taken);
    if (unlikely(taken < run.n)) {
        redirect_error(run, xdp_error::enobufs, run.pkts() + taken, run.n - taken);
    }
    if (!lane.listed) {
        lane.listed = true;
        lane.next = std::exchange(guard->xsk_flush_list, &lane);
    }
    return true;
}

void xsk_flush(net_cpu &cpu) noexcept
{
    const redirect_guard guard(cpu);
    while (xdp_socket_lane *lane = guard->xsk_flush_list) {
        guard->xsk_flush_list = lane->next;
        lane->listed = false;
        lane->socket->notify();
    }
}

} // namespace halfpoll
