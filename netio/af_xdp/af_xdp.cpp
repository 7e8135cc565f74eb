// SPDX-License-Identifier: BSD-3-Clause
#include <halfpoll/af_xdp.hpp>

#include "af_xdp_link.hpp"
#include "af_xdp_netdev.hpp"
#include "af_xdp_prog.hpp"
#include "af_xdp_queue.hpp"
#include "kernel_pass.hpp"

#include <halfpoll/eal.hpp>

#include <rte_mbuf.h>
#include <rte_memory.h>
#include <rte_mempool.h>

#include <linux/ethtool.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <vector>

namespace halfpoll
{

namespace
{

constexpr std::uint32_t PAGE = 4096;
constexpr std::uint32_t FRAME_OVERHEAD = RTE_ETHER_HDR_LEN + 2 * RTE_VLAN_HLEN; ///< bytes of a frame over its MTU
constexpr std::uint32_t XDP_ROOM = 256;                                         ///< XDP_PACKET_HEADROOM

/// One rx queue of the port. It has the socket of one interface queue or, if the interface has more queues than were
/// asked for, the sockets of several, which share an epoll fd to wait on.
struct folded_queue {
    std::vector<xsk_queue *> sockets;
    unsigned next = 0; ///< socket that is polled first in the next burst. Owner of the rx queue
    int wait_fd = -1;
    bool own_wait_fd = false;

    folded_queue() = default;
    folded_queue(const folded_queue &) = delete;
    folded_queue &operator=(const folded_queue &) = delete;
    ~folded_queue()
    {
        if (own_wait_fd) {
            ::close(wait_fd);
        }
    }
};

class af_xdp_port final : public port
{
public:
    af_xdp_port(const std::string &ifname, std::function<void(const std::string &)> warn)
        : netdev_(ifname), warn_(std::move(warn)), facts_(netdev_.facts())
    {
    }
    ~af_xdp_port() override { af_xdp_port::close(); }

    port_info info() const override;
    void open(const port_options &options) override;
    void close() noexcept override;
    link_state link() override { return netdev_.link(); }
    void set_mtu(std::uint32_t mtu) override;
    void set_promiscuous(bool on) override
    {
        promiscuous_wanted_ = on;
        netdev_.set_promiscuous(on || mac_unfiltered_);
    }
    void set_mac(const rte_ether_addr &mac) override
    {
        mac_unfiltered_ = rte_is_same_ether_addr(&mac, &facts_.mac) == 0;
        netdev_.set_promiscuous(promiscuous_wanted_ || mac_unfiltered_);
    }
    bool set_pass(const pass_to_kernel &wanted) noexcept override { return pass_ && pass_->apply(wanted); }
    void pass_address(const box_address &address, bool passes) noexcept override
    {
        if (pass_) {
            pass_->pass_address(address, passes);
        }
    }
    bool owns_program(std::uint32_t id) const noexcept override { return pass_ && pass_->owns_program(id); }
    port_counters counters() const override;
    void set_event_handler(std::function<void(port_event)> notify) override;
    rx_wait wait_of(std::uint16_t queue) override;

    std::uint16_t rx_burst(std::uint16_t queue, rte_mbuf **pkts, std::uint16_t n) noexcept override;
    bool rx_pending(std::uint16_t queue) const noexcept override;
    bool rx_starved(std::uint16_t queue) const noexcept override;
    int rx_irq_enable(std::uint16_t) noexcept override { return 0; }
    int rx_irq_disable(std::uint16_t) noexcept override { return 0; }
    std::uint16_t tx_burst(std::uint16_t queue, rte_mbuf **pkts, std::uint16_t n) noexcept override
    {
        return sockets_[queue]->tx_burst(pkts, n);
    }
    bool tx_doorbell(std::uint16_t queue) noexcept override { return sockets_[queue]->tx_doorbell(); }

private:
    void check(const port_options &options) const;
    void check_mtu(std::uint32_t mtu, std::uint32_t limit) const;
    void prepare_interface(const port_options &options);
    void keep_vlan_tags();
    void open_queues(const port_options &options);
    void join_wait(folded_queue &queue);
    void attach();
    [[noreturn]] void refuse(const std::string &why) const { throw error("af_xdp:" + netdev_.name() + ": " + why); }
    void say(const std::string &what) const
    {
        if (warn_) {
            warn_("af_xdp:" + netdev_.name() + ": " + what);
        }
    }

    netdev netdev_;
    std::function<void(const std::string &)> warn_;
    netdev_facts facts_;
    bool promiscuous_wanted_ = false; ///< set_promiscuous() asked for it
    bool mac_unfiltered_ = false;     ///< promiscuous because the interface filters for another address
    rte_mempool *pool_ = nullptr;
    std::unique_ptr<kernel_pass> pass_; ///< null: the kernel cannot
    std::unique_ptr<xdp_redirect_prog> prog_;
    std::vector<std::unique_ptr<xsk_queue>> sockets_;   ///< by interface queue, which is also the tx queue
    std::vector<std::unique_ptr<folded_queue>> queues_; ///< by rx queue
    std::unique_ptr<link_watcher> watcher_;
    std::uint64_t nohandler_ = 0; ///< frames of queues without a socket, counted until the last close()
};

port_info af_xdp_port::info() const
{
    port_info i;
    i.driver = "af_xdp";
    i.device = "af_xdp:" + netdev_.name();
    i.mac = facts_.mac;
    i.max_rx_queues = facts_.rx_queues;
    i.max_tx_queues = facts_.rx_queues; // a socket has both directions
    i.min_mtu = facts_.min_mtu;
    const std::uint32_t frame = pool_ ? xsk_max_frame(pool_) : PAGE - sizeof(rte_mbuf) - XDP_ROOM;
    i.max_mtu = frame - FRAME_OVERHEAD;
    if (facts_.max_mtu != 0) {
        i.max_mtu = std::min(i.max_mtu, facts_.max_mtu);
    }
    return i;
}

void af_xdp_port::check_mtu(std::uint32_t mtu, std::uint32_t limit) const
{
    if (mtu > limit || mtu < facts_.min_mtu) {
        refuse("an MTU of " + std::to_string(mtu) + " is not possible: " + std::to_string(facts_.min_mtu) + " to " +
               std::to_string(limit) + " (a frame has to fit one packet buffer behind the " + std::to_string(XDP_ROOM) +
               " bytes that XDP reserves)");
    }
}

void af_xdp_port::check(const port_options &options) const
{
    if (options.rx_queues == 0 || options.rx_queues > facts_.rx_queues || options.tx_queues > facts_.rx_queues) {
        refuse("asked for " + std::to_string(options.rx_queues) + " receive and " + std::to_string(options.tx_queues) +
               " transmit queues; it has " + std::to_string(facts_.rx_queues) + " (see `ethtool -l`)");
    }
    const std::uint32_t chunk = xsk_frame_headroom(options.pool) + rte_pktmbuf_data_room_size(options.pool);
    if (chunk > PAGE || chunk < PAGE / 2) {
        refuse("the packet pool's buffers take " + std::to_string(chunk) + " bytes, header included; AF_XDP needs " +
               std::to_string(PAGE / 2) + " to " + std::to_string(PAGE));
    }
    check_mtu(options.mtu, xsk_max_frame(options.pool) - FRAME_OVERHEAD);
}

void af_xdp_port::open(const port_options &options)
{
    facts_ = netdev_.facts();
    check(options);
    try {
        pool_ = options.pool;
        prepare_interface(options);
        pass_ = std::make_unique<kernel_pass>(netdev_.ifindex());
        if (!pass_->usable()) {
            if (const int err = pass_->refused()) {
                say(std::string("the kernel refuses to pass packets to its stack by itself (") + std::strerror(err) +
                    "), so what it forwards goes by the slow path");
            }
            pass_.reset();
        }
        prog_ = std::make_unique<xdp_redirect_prog>(netdev_.name(), netdev_.ifindex(), facts_.rx_queues, pass_.get());
        open_queues(options);
        attach();
    } catch (...) {
        close();
        throw;
    }
}

void af_xdp_port::prepare_interface(const port_options &options)
{
    if (const std::string address = netdev_.ipv4_address(); !address.empty()) {
        say("the kernel has " + address + " on it and will not receive anything while this port is open");
    }
    netdev_.disable_ipv6();
    netdev_.set_mtu(options.mtu);
    if (!netdev_.clear_ethtool_flags(ETH_FLAG_LRO)) {
        say("large receive offload cannot be turned off; merged frames longer than the MTU are dropped");
    }
    netdev_.set_up();
}

/// The XDP program cannot fetch a tag that the kernel keeps beside the frame, so the tag must stay in the frame.
void af_xdp_port::keep_vlan_tags()
{
    if (!netdev_.clear_ethtool_flags(ETH_FLAG_RXVLAN)) {
        say("VLAN tag stripping cannot be turned off: tagged frames may arrive without their tag");
    }
    if (facts_.driver != "veth") {
        return;
    }
    if (facts_.peer_ifindex == 0 || !netdev_.clear_ethtool_flags(ETH_FLAG_TXVLAN, facts_.peer_ifindex)) {
        say("the peer is in another namespace: VLAN tags that its kernel adds are lost unless they are put into the "
            "frame (there: `ethtool -K PEER tx-vlan-offload off`)");
    }
}

/// Whether the pool has buffers that cross a page boundary. Hardware cannot use such buffers, because the pages need
/// not be contiguous; copy mode can.
bool frames_cross_pages(rte_mempool *pool)
{
    bool crosses = false;
    rte_mempool_obj_iter(
        pool,
        [](rte_mempool *mp, void *found, void *object, unsigned) {
            const rte_memseg *segment = rte_mem_virt2memseg(object, nullptr);
            const std::uint64_t page = segment ? segment->hugepage_sz : PAGE;
            const auto first = reinterpret_cast<std::uintptr_t>(object);
            const auto last = first + xsk_frame_headroom(mp) + rte_pktmbuf_data_room_size(mp) - 1;
            *static_cast<bool *>(found) |= first / page != last / page;
        },
        &crosses);
    return crosses;
}

void af_xdp_port::open_queues(const port_options &options)
{
    xsk_config config;
    config.ifname = netdev_.present_name(); // a socket is bound by name
    config.pool = pool_;
    config.region = packet_pool_region(pool_);
    config.complete_checksums = facts_.software;
    config.force_copy = frames_cross_pages(pool_);
    if (config.force_copy && !facts_.software) {
        say("copy mode: packet buffers cross pages; zero-copy needs hugepages");
    }
    // Sockets that share an rx queue share its descriptors.
    const unsigned per_queue = (facts_.rx_queues + options.rx_queues - 1) / options.rx_queues;
    config.descriptors = std::bit_ceil(std::clamp(options.descriptors / per_queue, 64U, 8192U));

    for (unsigned q = 0; q < options.rx_queues; q++) {
        queues_.push_back(std::make_unique<folded_queue>());
    }
    for (unsigned q = 0; q < facts_.rx_queues; q++) {
        sockets_.push_back(std::make_unique<xsk_queue>(config, q));
        prog_->set_socket(q, sockets_.back()->fd());
        queues_[q % options.rx_queues]->sockets.push_back(sockets_.back().get());
    }
    for (auto &queue : queues_) {
        join_wait(*queue);
    }
}

void af_xdp_port::join_wait(folded_queue &queue)
{
    if (queue.sockets.size() == 1) {
        queue.wait_fd = queue.sockets.front()->fd();
        return;
    }
    queue.wait_fd = epoll_create1(EPOLL_CLOEXEC);
    queue.own_wait_fd = queue.wait_fd >= 0;
    bool joined = queue.own_wait_fd;
    for (const xsk_queue *socket : queue.sockets) {
        epoll_event event{};
        event.events = EPOLLIN;
        joined = joined && epoll_ctl(queue.wait_fd, EPOLL_CTL_ADD, socket->fd(), &event) == 0;
    }
    if (!joined) {
        throw_errno(errno, "af_xdp:" + netdev_.name() + ": cannot wait for several sockets at once");
    }
}

void af_xdp_port::attach()
{
    if (!prog_->attach()) {
        say("its driver has no XDP: the slower generic path is used");
        if (!netdev_.disable_gro()) {
            say("generic receive offload cannot be turned off; merged frames longer than the MTU are dropped");
        }
    }
    if (!prog_->keeps_vlan()) {
        keep_vlan_tags();
    }
}

void af_xdp_port::close() noexcept
{
    watcher_.reset();
    if (prog_) {
        prog_->detach();
        nohandler_ += prog_->drops().no_socket;
    }
    queues_.clear();
    sockets_.clear();
    prog_.reset();
    pass_.reset();
    pool_ = nullptr;
    netdev_.restore();
}

void af_xdp_port::set_mtu(std::uint32_t mtu)
{
    check_mtu(mtu, info().max_mtu);
    netdev_.set_mtu(mtu);
}

port_counters af_xdp_port::counters() const
{
    port_counters c;
    for (const auto &socket : sockets_) {
        c.rx_packets += socket->rx_stats().packets.load(std::memory_order_relaxed);
        c.rx_bytes += socket->rx_stats().bytes.load(std::memory_order_relaxed);
        c.rx_nombuf += socket->rx_stats().nombuf.load(std::memory_order_relaxed);
        c.tx_packets += socket->tx_stats().packets.load(std::memory_order_relaxed);
        c.tx_bytes += socket->tx_stats().bytes.load(std::memory_order_relaxed);
        c.tx_errors += socket->tx_stats().errors.load(std::memory_order_relaxed);
        const xsk_kernel_counters kernel = socket->kernel_counters();
        c.rx_missed += kernel.rx_dropped + kernel.rx_ring_full;
        c.rx_errors += kernel.rx_invalid;
        c.tx_errors += kernel.tx_invalid;
    }
    const xdp_prog_drops drops = prog_ ? prog_->drops() : xdp_prog_drops{};
    c.rx_nohandler = nohandler_ + drops.no_socket;
    c.rx_errors += drops.no_room;
    c.passed_in = pass_ ? pass_->passed_in() : 0;
    c.passed_out = pass_ ? pass_->passed_out() : 0;
    return c;
}

void af_xdp_port::set_event_handler(std::function<void(port_event)> notify)
{
    watcher_.reset();
    if (notify) {
        const auto other_queues = [this, opened = facts_.rx_queues] {
            const unsigned now = netdev_.rx_queues();
            return now != 0 && now != opened;
        };
        watcher_ = std::make_unique<link_watcher>(netdev_.name(), netdev_.ifindex(), other_queues, std::move(notify));
    }
}

rx_wait af_xdp_port::wait_of(std::uint16_t queue) { return {queues_[queue]->wait_fd, source_kind::oneshot, ""}; }

std::uint16_t af_xdp_port::rx_burst(std::uint16_t queue, rte_mbuf **pkts, std::uint16_t n) noexcept
{
    folded_queue &q = *queues_[queue];
    if (q.sockets.size() == 1) {
        return q.sockets.front()->rx_burst(pkts, n);
    }
    std::uint16_t got = 0;
    for (std::size_t tried = 0; tried < q.sockets.size() && got < n; tried++) {
        got = static_cast<std::uint16_t>(got +
                                         q.sockets[q.next]->rx_burst(pkts + got, static_cast<std::uint16_t>(n - got)));
        q.next = q.next + 1 == q.sockets.size() ? 0 : q.next + 1;
    }
    return got;
}

bool af_xdp_port::rx_pending(std::uint16_t queue) const noexcept
{
    const auto &sockets = queues_[queue]->sockets;
    return std::any_of(sockets.begin(), sockets.end(), [](const xsk_queue *socket) { return socket->rx_pending(); });
}

bool af_xdp_port::rx_starved(std::uint16_t queue) const noexcept
{
    const auto &sockets = queues_[queue]->sockets;
    return std::any_of(sockets.begin(), sockets.end(), [](const xsk_queue *socket) { return socket->rx_starved(); });
}

} // namespace

std::unique_ptr<port> make_af_xdp_port(const std::string &ifname, std::function<void(const std::string &)> warn)
{
    return std::make_unique<af_xdp_port>(ifname, std::move(warn));
}

} // namespace halfpoll
