// SPDX-License-Identifier: BSD-3-Clause
#include "ethdev_conf.hpp"
#include "ethdev_events.hpp"
#include "ethdev_flow.hpp"
#include "netio/base/ordinary_policy.hpp"
#include "netio/base/sigpipe_guard.hpp"
#include "netio/eal/eal_intr_thread.hpp"
#include "netio/eal/packet_pool.hpp"
#include "netio/eal/pci_sysfs.hpp"
#include "rx_vectors.hpp"

#include <halfpoll/ethdev.hpp>

#include <halfpoll/net_core.hpp>
#include <halfpoll/pi_lock.hpp>

#include <rte_branch_prediction.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <mutex>
#include <optional>
#include <vector>

namespace halfpoll
{
namespace
{

constexpr ktime_t LINK_LOOK = NSEC_PER_SEC; ///< between polls of a link without a link interrupt

/// Properties of a driver that ethdev does not report. The defaults are those of a PCI NIC with MSI-X, which has an
/// eventfd for each queue that nobody reads. net_vhost has them too: its epoll fd also makes a multishot poll complete
/// at each event.
struct driver_quirk {
    const char *driver = "";
    source_kind kind = source_kind::multishot; ///< kind of its rx interrupt's fd
    bool maskable = true;                      ///< rx_intr_enable works; false: the fd is level-triggered and always on
    /// Grants rx interrupts with MSI-X, but they never come; with MSI they do.
    bool deaf_msix = false;
    bool descriptors = true;  ///< the ring has as many descriptors as were configured
    bool link_moves = true;   ///< its link goes up and down
    bool link_events = true;  ///< a link interrupt that it grants does come
    bool maps_memory = false; ///< its peer maps the packets' memory
    /// false: it restarts itself for a new MTU, and forgets which interrupts were armed.
    bool live_mtu = true;
    /// Its interrupt callback talks to the peer or takes long. DPDK 22.11 cannot remove the callback while it runs: the
    /// callback, and the alarms that it sets, are then called when the device has been freed. So the port is stopped on
    /// EAL's interrupt thread.
    bool talks_in_interrupt = false;
    bool shares_mask = false; ///< a read-modify-write of one device register arms the interrupts of all its queues
};

constexpr driver_quirk quirks[] = {
    // The fd is the tun fd itself; a read takes a packet from it.
    {.driver = "net_tap", .kind = source_kind::oneshot, .maskable = false, .descriptors = false},
    {.driver = "net_virtio_user", .maps_memory = true, .talks_in_interrupt = true},
    {.driver = "net_virtio", .talks_in_interrupt = true},
    {.driver = "net_e1000_em", .deaf_msix = true},
    {.driver = "net_ixgbe", .shares_mask = true},
    {.driver = "net_ixgbe_vf", .shares_mask = true},
    {.driver = "net_vmxnet3", .link_events = false, .live_mtu = false},
    {.driver = "net_ring", .descriptors = false, .link_moves = false},
    {.driver = "net_null", .descriptors = false, .link_moves = false},
    {.driver = "net_pcap", .descriptors = false, .link_moves = false},
};
constexpr driver_quirk no_quirk{};

const driver_quirk &quirk_of(const char *driver)
{
    auto it = std::find_if(std::begin(quirks), std::end(quirks),
                           [&](const driver_quirk &q) { return std::strcmp(q.driver, driver) == 0; });
    return it == std::end(quirks) ? no_quirk : *it;
}

/// A burst that was received only to see whether packets wait; the next rx_burst() returns it first. For drivers that
/// cannot count the packets in their ring.
struct rx_peek {
    std::uint16_t first = 0;
    std::uint16_t count = 0;
    bool countable = true;
    std::array<rte_mbuf *, NET_BURST> pkts;
};

class ethdev_port final : public port
{
public:
    ethdev_port(const std::string &devargs, std::function<void(const std::string &)> warn);
    ~ethdev_port() override;

    port_info info() const override;
    void open(const port_options &options) override;
    void close() noexcept override;
    link_state link() override;
    void set_mtu(std::uint32_t mtu) override;
    void set_promiscuous(bool on) override;
    void set_mac(const rte_ether_addr &mac) override;
    void reset() override;
    ktime_t link_period() const noexcept override;
    port_counters counters() const override;
    void set_event_handler(std::function<void(port_event)> notify) override;
    rx_wait wait_of(std::uint16_t queue) override;
    bool has_ntuple() const override { return flows_ && flows_->usable(); }
    int rx_flow_steer(const flow_tuple &flow, std::uint16_t queue) override { return flows_->steer(flow, queue); }
    bool rx_flow_expire(int filter) noexcept override { return flows_->expire(filter); }

    std::uint16_t rx_burst(std::uint16_t queue, rte_mbuf **pkts, std::uint16_t n) noexcept override;
    bool rx_pending(std::uint16_t queue) const noexcept override;
    bool rx_starved(std::uint16_t queue) const noexcept override;
    int rx_irq_enable(std::uint16_t queue) noexcept override;
    int rx_irq_disable(std::uint16_t queue) noexcept override;
    std::uint16_t tx_burst(std::uint16_t queue, rte_mbuf **pkts, std::uint16_t n) noexcept override
    {
        return rte_eth_tx_burst(id_, queue, pkts, n);
    }

private:
    void check(int ret, const char *what) const
    {
        if (ret < 0) {
            throw_errno(-ret, name_ + ": " + what);
        }
    }
    void say(const std::string &what) const
    {
        if (warn_) {
            warn_(name_ + ": " + what);
        }
    }
    rte_eth_dev_info device() const;
    void configure(const port_options &options);
    void set_up_queues(const port_options &options, const rte_eth_dev_info &dev);
    void start(const port_options &options);
    void stop() noexcept;
    void keep_vlan_tags();
    void spread(const port_options &options);
    void receive_multicast();
    void apply_promiscuous();
    void find_vectors(const port_options &options);
    void probe();
    void detach() noexcept;
    std::unique_lock<pi_lock> lock_mask() noexcept;

    std::string devargs_;
    std::string name_;
    std::uint16_t id_ = RTE_MAX_ETHPORTS;
    bool pci_ = false;
    bool probed_ = false; ///< probed by this object, which removes the device from DPDK
    bool open_ = false;
    bool started_ = false;
    rte_eth_conf conf_{};
    const driver_quirk *quirk_ = &no_quirk;
    std::function<void(const std::string &)> warn_;
    std::uint16_t descriptors_ = 0;
    rte_mempool *pool_ = nullptr;
    bool promiscuous_wanted_ = false;   ///< set_promiscuous() asked for it
    bool multicast_unfiltered_ = false; ///< promiscuous because the device cannot receive all multicast otherwise
    bool mac_unfiltered_ = false;       ///< promiscuous because the device does not filter for its address
    port_counters last_;
    /// By queue. Owner of the queue, which changes it in rx_pending() too.
    mutable std::vector<std::unique_ptr<rx_peek>> peek_;
    std::vector<int> rx_fds_; ///< fd of each queue's interrupt; -1: none
    rx_vectors vectors_;
    /// Taken by the owners of rx queues, whatever their CPU and priority, if shares_mask.
    pi_lock mask_lock_{"rx interrupt mask"};
    std::unique_ptr<ethdev_events> events_;
    std::optional<ethdev_flows> flows_; ///< present while the port is open
};

std::optional<std::uint16_t> existing_port(const std::string &devargs)
{
    std::uint16_t id;
    if (devargs.starts_with("port:")) {
        const char *end = devargs.data() + devargs.size();
        const auto parsed = std::from_chars(devargs.data() + 5, end, id);
        if (parsed.ec != std::errc{} || parsed.ptr != end || !rte_eth_dev_is_valid_port(id)) {
            throw error("\"" + devargs + "\": no such DPDK port; there are " +
                        std::to_string(rte_eth_dev_count_avail()));
        }
        return id;
    }
    if (rte_eth_dev_get_port_by_name(devargs.c_str(), &id) == 0) {
        return id; // a PCI device that the EAL probed at its start
    }
    return std::nullopt;
}

ethdev_port::ethdev_port(const std::string &devargs, std::function<void(const std::string &)> warn)
    : devargs_(devargs), name_(devargs.substr(0, devargs.find(','))), pci_(is_pci_address(name_)),
      warn_(std::move(warn))
{
    probe();
}

ethdev_port::~ethdev_port()
{
    const sigpipe_guard guard;
    close();
    detach();
}

void ethdev_port::probe()
{
    if (pci_) {
        require_pci_device(name_);
    }
    if (const auto id = existing_port(devargs_)) {
        id_ = *id;
        probed_ = !devargs_.starts_with("port:");
    } else {
        const sigpipe_guard guard;
        const ordinary_policy while_threads_start("\"" + devargs_ + "\"");
        if (const int ret = rte_dev_probe(devargs_.c_str()); ret < 0) {
            throw_errno(-ret, "\"" + devargs_ + "\": DPDK does not find such a device" +
                                  (ret == -EEXIST ? " twice" : " (driver, arguments, vfio binding?)"));
        }
        if (rte_eth_dev_get_port_by_name(name_.c_str(), &id_) != 0) {
            throw error("\"" + devargs_ + "\": probed, but it is no network port");
        }
        probed_ = true;
    }
    quirk_ = &quirk_of(device().driver_name);
}

/// Removes the device from DPDK if this object probed it.
void ethdev_port::detach() noexcept
{
    if (!probed_ || !rte_eth_dev_is_valid_port(id_)) {
        return;
    }
    rte_eth_dev_info dev;
    rte_device *device = rte_eth_dev_info_get(id_, &dev) == 0 ? dev.device : nullptr;
    rte_eth_dev_close(id_);
    run_on_eal_intr_thread([] {}); // waits for a callback that reports a removal: rte_dev_remove() frees what it uses
    if (const int ret = device ? rte_dev_remove(device) : 0; ret < 0) {
        say("DPDK does not let go of the device (" + std::string(rte_strerror(-ret)) + ")");
    }
}

rte_eth_dev_info ethdev_port::device() const
{
    rte_eth_dev_info dev{};
    check(rte_eth_dev_info_get(id_, &dev), "no device information");
    return dev;
}

port_info ethdev_port::info() const
{
    const rte_eth_dev_info dev = device();
    port_info info;
    info.driver = dev.driver_name;
    info.device = name_;
    info.max_rx_queues = dev.max_rx_queues;
    info.max_tx_queues = dev.max_tx_queues;
    info.min_mtu = std::max<std::uint32_t>(dev.min_mtu, RTE_ETHER_MIN_MTU);
    info.max_mtu = dev.max_mtu != 0 && dev.max_mtu != UINT16_MAX
                       ? dev.max_mtu
                       : std::min<std::uint32_t>(dev.max_rx_pktlen - RTE_ETHER_HDR_LEN - RTE_ETHER_CRC_LEN, UINT16_MAX);
    info.rx_descriptors = quirk_->descriptors ? descriptors_ : 0;
    check(rte_eth_macaddr_get(id_, &info.mac), "no MAC address");
    return info;
}

void ethdev_port::configure(const port_options &options)
{
    check(rte_eth_dev_configure(id_, static_cast<std::uint16_t>(options.rx_queues),
                                static_cast<std::uint16_t>(options.tx_queues), &conf_),
          "the driver refuses the configuration");
    if (options.mac) {
        rte_ether_addr mac = *options.mac;
        mac_unfiltered_ = rte_eth_dev_default_mac_addr_set(id_, &mac) != 0;
    }
}

/// A tag that the device takes out of the frame would be lost.
void ethdev_port::keep_vlan_tags()
{
    const int on = rte_eth_dev_get_vlan_offload(id_);
    if (on > 0 && (on & RTE_ETH_VLAN_STRIP_OFFLOAD) &&
        rte_eth_dev_set_vlan_offload(id_, on & ~RTE_ETH_VLAN_STRIP_OFFLOAD) != 0) {
        say("VLAN tag stripping cannot be turned off: tagged frames arrive without their tag");
    }
}

void ethdev_port::spread(const port_options &options)
{
    if (options.rx_queues < 2) {
        return;
    }
    if (conf_.rxmode.mq_mode != RTE_ETH_MQ_RX_RSS) {
        return say("no RSS: on which of its queues a packet arrives is the device's choice");
    }
    const std::uint16_t size = device().reta_size;
    std::vector<rte_eth_rss_reta_entry64> table = ethdev_reta(size, options.rx_queues);
    if (size != 0 && rte_eth_dev_rss_reta_update(id_, table.data(), size) != 0) {
        say("the driver keeps its own table of queues (RETA): they may not get equal shares");
    }
}

/// Routing protocols and neighbour discovery use multicast groups that only the kernel knows. The slow path polices
/// their packets.
void ethdev_port::receive_multicast() { multicast_unfiltered_ = rte_eth_allmulticast_enable(id_) != 0; }

void ethdev_port::apply_promiscuous()
{
    const bool on = promiscuous_wanted_ || multicast_unfiltered_ || mac_unfiltered_;
    if (on == (rte_eth_promiscuous_get(id_) == 1)) {
        return;
    }
    const int ret = on ? rte_eth_promiscuous_enable(id_) : rte_eth_promiscuous_disable(id_);
    if (on && ret != -ENOTSUP) { // virtual devices without the call receive everything
        check(ret, "promiscuous mode");
    }
}

void ethdev_port::find_vectors(const port_options &options)
{
    rx_fds_.assign(options.rx_queues, -1);
    for (unsigned q = 0; q < options.rx_queues && conf_.intr_conf.rxq != 0; ++q) {
        rx_fds_[q] = rte_eth_dev_rx_intr_ctl_q_get_fd(id_, static_cast<std::uint16_t>(q));
    }
    vectors_ = rx_vectors(rx_fds_);
}

void ethdev_port::set_up_queues(const port_options &options, const rte_eth_dev_info &dev)
{
    std::uint16_t rx = static_cast<std::uint16_t>(std::min(options.descriptors, 32768U));
    std::uint16_t tx = rx;
    check(rte_eth_dev_adjust_nb_rx_tx_desc(id_, &rx, &tx), "the driver refuses the ring size");
    for (unsigned q = 0; q < options.rx_queues; ++q) {
        rte_eth_rxconf conf = dev.default_rxconf;
        conf.offloads = conf_.rxmode.offloads;
        check(rte_eth_rx_queue_setup(id_, static_cast<std::uint16_t>(q), rx, SOCKET_ID_ANY, &conf, options.pool),
              "rx queue cannot be set up");
    }
    for (unsigned q = 0; q < options.tx_queues; ++q) {
        rte_eth_txconf conf = dev.default_txconf;
        conf.offloads = conf_.txmode.offloads;
        check(rte_eth_tx_queue_setup(id_, static_cast<std::uint16_t>(q), tx, SOCKET_ID_ANY, &conf),
              "tx queue cannot be set up");
    }
    descriptors_ = rx;
}

/// Some drivers refuse rx and link interrupts together, or one of them. The rx interrupt is preferred.
void ethdev_port::start(const port_options &options)
{
    const rte_eth_dev_info dev = device();
    const bool lsc = (*dev.dev_flags & RTE_ETH_DEV_INTR_LSC) != 0;
    constexpr ethdev_interrupts attempts[] = {{true, true}, {true, false}, {false, true}, {false, false}};
    for (const ethdev_interrupts &a : attempts) {
        if (a.lsc && (!lsc || !quirk_->link_events)) {
            continue;
        }
        try {
            conf_ = ethdev_conf(name_, options, dev, a);
            configure(options);
            set_up_queues(options, dev);
            check(rte_eth_dev_start(id_), "the device does not start");
            started_ = true;
            if (!a.rxq || !a.lsc || !pci_ || pci_interrupts_of(name_).vectors != 1) {
                return;
            }
            stop(); // drivers give a single vector to the queues, and then report no link change
        } catch (const std::exception &) {
            if (!a.rxq && !a.lsc) {
                throw;
            }
        }
    }
}

/// Ignores errors: stopping a device that has vanished fails, and nothing can be done.
void ethdev_port::stop() noexcept
{
    if (quirk_->talks_in_interrupt) {
        run_on_eal_intr_thread([id = id_] { rte_eth_dev_stop(id); });
    } else {
        rte_eth_dev_stop(id_);
    }
    started_ = false;
}

void ethdev_port::open(const port_options &options)
{
    const sigpipe_guard guard;
    const ordinary_policy while_threads_start(name_);
    const rte_mempool_memhdr *memory = STAILQ_FIRST(&options.pool->mem_list);
    if (quirk_->maps_memory && memory && !rte_mem_virt2memseg(memory->addr, nullptr)) {
        throw error(name_ + ": its peer cannot map the packet pool: start the EAL with shareable memory "
                            "(eal_options::shareable)");
    }
    if (quirk_->talks_in_interrupt) {
        run_on_eal_intr_thread(block_sigpipe);
    }
    mac_unfiltered_ = false;
    start(options);
    pool_ = options.pool;
    keep_vlan_tags();
    spread(options);
    receive_multicast();
    apply_promiscuous();
    find_vectors(options);
    for (unsigned q = 0; q < options.rx_queues; ++q) {
        auto peek = std::make_unique<rx_peek>();
        peek->countable = rte_eth_rx_queue_count(id_, static_cast<std::uint16_t>(q)) >= 0;
        peek_.push_back(std::move(peek));
    }
    if (const int ret = rte_eth_stats_reset(id_); ret < 0 && ret != -ENOTSUP) {
        check(ret, "counters cannot be reset");
    }
    flows_.emplace(id_);
    open_ = true;
}

void ethdev_port::close() noexcept
{
    const sigpipe_guard guard;
    set_event_handler(nullptr);
    if (open_) {
        try {
            last_ = counters();
        } catch (const std::exception &) {
            last_ = {}; // the device is gone, and its counters with it
        }
        open_ = false;
    }
    if (flows_) {
        flows_->clear();
        flows_.reset();
    }
    if (started_) {
        stop();
    }
    for (auto &peek : peek_) {
        rte_pktmbuf_free_bulk(peek->pkts.data() + peek->first, peek->count);
    }
    peek_.clear();
}

link_state ethdev_port::link()
{
    const sigpipe_guard guard;
    rte_eth_link link{};
    check(rte_eth_link_get_nowait(id_, &link), "no link state");
    const std::uint32_t speed = link.link_speed == RTE_ETH_SPEED_NUM_UNKNOWN ? 0 : link.link_speed;
    return {.up = link.link_status == RTE_ETH_LINK_UP, .speed_mbps = speed};
}

void ethdev_port::set_mtu(std::uint32_t mtu)
{
    const sigpipe_guard guard;
    if (mtu > conf_.rxmode.mtu && !quirk_->live_mtu) {
        throw error(name_ + ": its driver takes a larger MTU only when it is opened");
    }
    const rte_eth_conf wanted = ethdev_conf(name_, {.mtu = mtu, .pool = pool_}, device(), {});
    if ((wanted.rxmode.offloads & ~conf_.rxmode.offloads) != 0) {
        throw error(name_ + ": an MTU of " + std::to_string(mtu) + " needs the port to be opened for it");
    }
    if (!quirk_->live_mtu) {
        return; // it receives frames of the MTU that it was opened for; a smaller MTU concerns only senders
    }
    const int ret = mtu <= UINT16_MAX ? rte_eth_dev_set_mtu(id_, static_cast<std::uint16_t>(mtu)) : -EINVAL;
    if (ret < 0 && mtu <= conf_.rxmode.mtu) {
        return; // as for `live_mtu`: it still receives what it was opened for
    }
    check(ret, ("MTU " + std::to_string(mtu) + " is refused").c_str());
}

void ethdev_port::set_promiscuous(bool on)
{
    const sigpipe_guard guard;
    promiscuous_wanted_ = on;
    apply_promiscuous();
}

void ethdev_port::set_mac(const rte_ether_addr &mac)
{
    const sigpipe_guard guard;
    rte_ether_addr own{}, wanted = mac;
    check(rte_eth_macaddr_get(id_, &own), "no MAC address");
    if (!rte_is_same_ether_addr(&own, &mac)) {
        if (!mac_unfiltered_ && (*device().dev_flags & RTE_ETH_DEV_NOLIVE_MAC_ADDR) != 0) {
            throw error(name_ + ": its driver takes a MAC address only before it starts");
        }
        mac_unfiltered_ = rte_eth_dev_default_mac_addr_set(id_, &wanted) != 0;
    } else {
        mac_unfiltered_ = false;
    }
    apply_promiscuous();
}

void ethdev_port::reset()
{
    const sigpipe_guard guard;
    const ordinary_policy while_threads_start(name_);
    const int ret = rte_eth_dev_reset(id_);
    if (ret == -ENOTSUP && probed_) { // as thorough as a reset
        detach();
        return probe();
    }
    check(ret, "reset");
}

ktime_t ethdev_port::link_period() const noexcept
{
    return quirk_->link_moves && conf_.intr_conf.lsc == 0 ? LINK_LOOK : 0;
}

port_counters ethdev_port::counters() const
{
    if (!open_) {
        return last_;
    }
    rte_eth_stats s{};
    check(rte_eth_stats_get(id_, &s), "no counters");
    return {.rx_packets = s.ipackets,
            .rx_bytes = s.ibytes,
            .rx_missed = s.imissed,
            .rx_errors = s.ierrors,
            .rx_nombuf = s.rx_nombuf,
            .tx_packets = s.opackets,
            .tx_bytes = s.obytes,
            .tx_errors = s.oerrors};
}

void ethdev_port::set_event_handler(std::function<void(port_event)> notify)
{
    events_.reset();
    if (notify) {
        events_ = std::make_unique<ethdev_events>(id_, device().device, std::move(notify));
    }
}

rx_wait ethdev_port::wait_of(std::uint16_t queue)
{
    if (conf_.intr_conf.rxq == 0) {
        return {.reason = "the driver refuses rx interrupts"};
    }
    const int fd = rx_fds_[queue];
    if (fd < 0) {
        return {.reason = "the driver has no rx interrupt"};
    }
    if (quirk_->deaf_msix && pci_interrupts_of(name_).msix) {
        return {.reason = "its MSI-X interrupt never comes, MSI does: vfio_intr = \"msi\" (for all PCI ports)"};
    }
    if (quirk_->maskable) {
        if (const int ret = rte_eth_dev_rx_intr_enable(id_, queue); ret != 0) {
            return {.reason =
                        ret == -ENOTSUP ? "the driver has no rx interrupt" : "the rx interrupt cannot be enabled"};
        }
        if (rte_eth_dev_rx_intr_disable(id_, queue) != 0) {
            return {.reason = "the rx interrupt cannot be disabled"};
        }
    }
    return {.fd = fd, .kind = quirk_->kind};
}

std::uint16_t ethdev_port::rx_burst(std::uint16_t queue, rte_mbuf **pkts, std::uint16_t n) noexcept
{
    rx_peek &peek = *peek_[queue];
    if (likely(peek.count == 0)) {
        return rte_eth_rx_burst(id_, queue, pkts, n);
    }
    const std::uint16_t k = std::min(n, peek.count);
    std::copy_n(peek.pkts.begin() + peek.first, k, pkts);
    peek.first = static_cast<std::uint16_t>(peek.first + k);
    peek.count = static_cast<std::uint16_t>(peek.count - k);
    return static_cast<std::uint16_t>(k + (k < n ? rte_eth_rx_burst(id_, queue, pkts + k, n - k) : 0));
}

bool ethdev_port::rx_pending(std::uint16_t queue) const noexcept
{
    rx_peek &peek = *peek_[queue];
    if (peek.count != 0) {
        return true;
    }
    if (peek.countable) {
        return rte_eth_rx_queue_count(id_, queue) > 0;
    }
    peek.first = 0;
    peek.count = rte_eth_rx_burst(id_, queue, peek.pkts.data(), static_cast<std::uint16_t>(peek.pkts.size()));
    return peek.count != 0;
}

/// Drivers do not report whether a queue has buffers. Some (virtio, the vector paths of Intel's) refill a ring only in
/// the next burst, with all buffers or none. With fewer buffers in the pool than a ring has descriptors, that may have
/// failed.
bool ethdev_port::rx_starved(std::uint16_t) const noexcept { return packet_pool_common(pool_) < descriptors_; }

std::unique_lock<pi_lock> ethdev_port::lock_mask() noexcept
{
    return quirk_->shares_mask ? std::unique_lock(mask_lock_) : std::unique_lock<pi_lock>();
}

int ethdev_port::rx_irq_enable(std::uint16_t queue) noexcept
{
    if (!quirk_->maskable) {
        return 0;
    }
    const auto guard = lock_mask();
    return vectors_.enable(queue, [&] { return rte_eth_dev_rx_intr_enable(id_, queue); });
}

int ethdev_port::rx_irq_disable(std::uint16_t queue) noexcept
{
    if (!quirk_->maskable) {
        return 0;
    }
    const auto guard = lock_mask();
    return vectors_.disable(
        queue, [&] { return rte_eth_dev_rx_intr_disable(id_, queue); },
        [&] { return rte_eth_dev_rx_intr_enable(id_, queue); });
}

} // namespace

std::unique_ptr<port> make_ethdev_port(const std::string &devargs, std::function<void(const std::string &)> warn)
{
    return std::make_unique<ethdev_port>(devargs, std::move(warn));
}

} // namespace halfpoll
