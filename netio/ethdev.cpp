// SPDX-License-Identifier: BSD-3-Clause
#include "eal_intr_thread.hpp"
#include "sigpipe_guard.hpp"

#include <halfpoll/ethdev.hpp>

#include <halfpoll/net_core.hpp>

#include <rte_alarm.h>
#include <rte_branch_prediction.h>
#include <rte_dev.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace halfpoll
{
namespace
{

constexpr std::uint64_t LINK_LOOK_US = 1'000'000; // drivers without a link interrupt

/// What a driver does with its rx interrupt fd that ethdev has no words for.
struct driver_quirk {
    const char *driver;
    source_kind kind;
    bool maskable;    ///< rx_intr_enable works; else the fd is level-triggered and always on
    bool descriptors; ///< the ring has the number of descriptors that was configured
    bool link_moves;  ///< a link without an interrupt still comes and goes
    bool maps_memory; ///< its peer maps the packets' memory
    /// Its interrupt callback talks to the peer; when it runs, stopping fails to take it back, and it and the alarms it
    /// sets are called when the device is freed (DPDK 22.11): to be stopped on EAL's interrupt thread.
    bool talks_in_interrupt;
};

constexpr driver_quirk quirks[] = {
    // Its fd is the tun fd itself, a read empties it.
    {"net_tap", source_kind::oneshot, false, false, true, false, false},
    {"net_virtio_user", source_kind::multishot, true, true, true, true, true},
    {"net_ring", source_kind::multishot, true, false, false, false, false},
    {"net_null", source_kind::multishot, true, false, false, false, false},
    {"net_pcap", source_kind::multishot, true, false, false, false, false},
};
/// An eventfd a queue that nobody reads, or an epoll fd (net_vhost): both fire a multishot poll at each event.
constexpr driver_quirk no_quirk{"", source_kind::multishot, true, true, true, false, false};

const driver_quirk &quirk_of(const char *driver)
{
    auto it = std::find_if(std::begin(quirks), std::end(quirks),
                           [&](const driver_quirk &q) { return std::strcmp(q.driver, driver) == 0; });
    return it == std::end(quirks) ? no_quirk : *it;
}

/// A burst that was received only to see whether there is one; the next rx_burst() starts with it. For drivers that
/// cannot count their ring.
struct rx_peek {
    std::uint16_t first = 0;
    std::uint16_t count = 0;
    bool countable = true;
    std::array<rte_mbuf *, NET_BURST> pkts;
};

class ethdev_port final : public port
{
public:
    explicit ethdev_port(const std::string &devargs);
    ~ethdev_port() override;

    port_info info() const override;
    void open(const port_options &options) override;
    void close() noexcept override;
    link_state link() override;
    void set_mtu(std::uint32_t mtu) override;
    void set_promiscuous(bool on) override;
    port_counters counters() const override;
    void set_event_handler(std::function<void(port_event)> notify) override;
    rx_wait wait_of(std::uint16_t queue) override;

    std::uint16_t rx_burst(std::uint16_t queue, rte_mbuf **pkts, std::uint16_t n) noexcept override;
    bool rx_pending(std::uint16_t queue) const noexcept override;
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
    rte_eth_dev_info device() const;
    void configure(const port_options &options, const rte_eth_dev_info &dev);
    void set_up_queues(const port_options &options, const rte_eth_dev_info &dev);
    void start(const port_options &options);
    void stop() noexcept;
    void listen(bool on);
    void notify(port_event event);
    static int on_event(std::uint16_t id, rte_eth_event_type type, void *self, void *ret) noexcept;
    static void on_link_alarm(void *self) noexcept;

    std::string name_;
    std::uint16_t id_ = RTE_MAX_ETHPORTS;
    bool probed_ = false; ///< here: removed with the object
    bool open_ = false;
    bool started_ = false;
    rte_eth_conf conf_{};
    const driver_quirk *quirk_ = &no_quirk;
    std::uint16_t descriptors_ = 0;
    port_counters last_;
    mutable std::vector<std::unique_ptr<rx_peek>> peek_; ///< by queue; its owner's, through const rx_pending() too

    std::mutex notify_mutex_; ///< control thread against the EAL's threads
    std::function<void(port_event)> notify_;
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
        return id; // a PCI device that the EAL probed at start
    }
    return std::nullopt;
}

ethdev_port::ethdev_port(const std::string &devargs) : name_(devargs.substr(0, devargs.find(',')))
{
    if (const auto id = existing_port(devargs)) {
        id_ = *id;
        probed_ = !devargs.starts_with("port:");
    } else {
        const sigpipe_guard guard;
        if (const int ret = rte_dev_probe(devargs.c_str()); ret < 0) {
            throw_errno(-ret, "\"" + devargs + "\": DPDK does not find such a device" +
                                  (ret == -EEXIST ? " twice" : " (driver, arguments, vfio binding?)"));
        }
        if (rte_eth_dev_get_port_by_name(name_.c_str(), &id_) != 0) {
            throw error("\"" + devargs + "\": probed, but it is no network port");
        }
        probed_ = true;
    }
    quirk_ = &quirk_of(device().driver_name);
}

ethdev_port::~ethdev_port()
{
    const sigpipe_guard guard;
    close();
    if (probed_ && rte_eth_dev_is_valid_port(id_)) {
        rte_eth_dev_info dev;
        rte_device *device = rte_eth_dev_info_get(id_, &dev) == 0 ? dev.device : nullptr;
        rte_eth_dev_close(id_);
        if (device) {
            rte_dev_remove(device);
        }
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

void ethdev_port::configure(const port_options &options, const rte_eth_dev_info &dev)
{
    conf_.rxmode.mtu = options.mtu;
    const std::uint32_t room = rte_pktmbuf_data_room_size(options.pool) - RTE_PKTMBUF_HEADROOM;
    if (options.mtu + RTE_ETHER_HDR_LEN + RTE_VLAN_HLEN > room) {
        if (!(dev.rx_offload_capa & RTE_ETH_RX_OFFLOAD_SCATTER)) {
            throw error(name_ + ": an MTU of " + std::to_string(options.mtu) + " needs packet buffers of more than " +
                        std::to_string(room) + " bytes, as " + dev.driver_name + " cannot scatter");
        }
        conf_.rxmode.offloads |= RTE_ETH_RX_OFFLOAD_SCATTER;
    }
    conf_.txmode.offloads = dev.tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
    const std::uint64_t hash = dev.flow_type_rss_offloads & (RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP);
    if (options.rx_queues > 1 && hash != 0) {
        conf_.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
        conf_.rx_adv_conf.rss_conf.rss_hf = hash;
    }
    check(rte_eth_dev_configure(id_, static_cast<std::uint16_t>(options.rx_queues),
                                static_cast<std::uint16_t>(options.tx_queues), &conf_),
          "the driver refuses the configuration");
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

/// Some drivers refuse rx and link interrupts together, or either: the rx interrupt is worth more.
void ethdev_port::start(const port_options &options)
{
    const rte_eth_dev_info dev = device();
    const bool lsc = (*dev.dev_flags & RTE_ETH_DEV_INTR_LSC) != 0;
    struct attempt {
        bool rxq, lsc;
    };
    constexpr attempt attempts[] = {{true, true}, {true, false}, {false, true}, {false, false}};
    for (const attempt &a : attempts) {
        if (a.lsc && !lsc) {
            continue;
        }
        conf_ = {};
        conf_.intr_conf.rxq = a.rxq;
        conf_.intr_conf.lsc = a.lsc;
        try {
            configure(options, dev);
            set_up_queues(options, dev);
            check(rte_eth_dev_start(id_), "the device does not start");
            started_ = true;
            return;
        } catch (const error &) {
            if (!a.rxq && !a.lsc) {
                throw;
            }
        }
    }
}

/// Of a device that vanished it fails, and nothing can be done.
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
    const rte_mempool_memhdr *memory = STAILQ_FIRST(&options.pool->mem_list);
    if (quirk_->maps_memory && memory && !rte_mem_virt2memseg(memory->addr, nullptr)) {
        throw error(name_ + ": its peer cannot map the packet pool: start the EAL with shareable memory "
                            "(eal_options::shareable)");
    }
    if (quirk_->talks_in_interrupt) {
        run_on_eal_intr_thread(block_sigpipe);
    }
    start(options);
    for (unsigned q = 0; q < options.rx_queues; ++q) {
        auto peek = std::make_unique<rx_peek>();
        peek->countable = rte_eth_rx_queue_count(id_, static_cast<std::uint16_t>(q)) >= 0;
        peek_.push_back(std::move(peek));
    }
    if (const int ret = rte_eth_stats_reset(id_); ret < 0 && ret != -ENOTSUP) {
        check(ret, "counters cannot be reset");
    }
    open_ = true;
}

void ethdev_port::close() noexcept
{
    const sigpipe_guard guard;
    set_event_handler(nullptr);
    if (open_) {
        try {
            last_ = counters();
        } catch (const error &) {
            last_ = {}; // the device is gone, and its counters with it
        }
        open_ = false;
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
    const int ret = mtu <= UINT16_MAX ? rte_eth_dev_set_mtu(id_, static_cast<std::uint16_t>(mtu)) : -EINVAL;
    if (ret == -ENOTSUP && mtu <= conf_.rxmode.mtu) {
        return; // receives what it was opened for; less is the sender's business
    }
    check(ret, ("MTU " + std::to_string(mtu) + " is refused").c_str());
}

void ethdev_port::set_promiscuous(bool on)
{
    const sigpipe_guard guard;
    const int ret = on ? rte_eth_promiscuous_enable(id_) : rte_eth_promiscuous_disable(id_);
    if (ret != -ENOTSUP) { // virtual devices without the call receive everything
        check(ret, "promiscuous mode");
    }
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

void ethdev_port::notify(port_event event)
{
    const std::lock_guard lock(notify_mutex_);
    if (notify_) {
        notify_(event);
    }
}

int ethdev_port::on_event(std::uint16_t, rte_eth_event_type type, void *self, void *) noexcept
{
    auto &port = *static_cast<ethdev_port *>(self);
    if (type == RTE_ETH_EVENT_INTR_LSC) {
        port.notify(port_event::link);
    } else if (type == RTE_ETH_EVENT_INTR_RMV) {
        port.notify(port_event::removed);
    } else if (type == RTE_ETH_EVENT_INTR_RESET) {
        port.notify(port_event::reset);
    }
    return 0;
}

void ethdev_port::on_link_alarm(void *self) noexcept
{
    static_cast<ethdev_port *>(self)->notify(port_event::link);
    rte_eal_alarm_set(LINK_LOOK_US, on_link_alarm, self);
}

void ethdev_port::listen(bool on)
{
    for (const rte_eth_event_type type : {RTE_ETH_EVENT_INTR_LSC, RTE_ETH_EVENT_INTR_RMV, RTE_ETH_EVENT_INTR_RESET}) {
        if (on) {
            check(rte_eth_dev_callback_register(id_, type, on_event, this), "no event callback");
            continue;
        }
        while (rte_eth_dev_callback_unregister(id_, type, on_event, this) == -EAGAIN) {
            std::this_thread::yield(); // the callback is running; it only posts
        }
    }
    if (quirk_->link_moves && conf_.intr_conf.lsc == 0) {
        if (on) {
            check(rte_eal_alarm_set(LINK_LOOK_US, on_link_alarm, this), "no timer to look at the link");
        } else {
            rte_eal_alarm_cancel(on_link_alarm, this);
        }
    }
}

void ethdev_port::set_event_handler(std::function<void(port_event)> notify)
{
    const bool on = notify != nullptr;
    bool was_on;
    {
        const std::lock_guard lock(notify_mutex_);
        was_on = notify_ != nullptr;
        notify_ = std::move(notify);
    }
    if (on != was_on) {
        listen(on);
    }
}

rx_wait ethdev_port::wait_of(std::uint16_t queue)
{
    if (conf_.intr_conf.rxq == 0) {
        return {.reason = "the driver refuses rx interrupts"};
    }
    const int fd = rte_eth_dev_rx_intr_ctl_q_get_fd(id_, queue);
    if (fd < 0) {
        return {.reason = "the driver has no rx interrupt"};
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

int ethdev_port::rx_irq_enable(std::uint16_t queue) noexcept
{
    return quirk_->maskable ? rte_eth_dev_rx_intr_enable(id_, queue) : 0;
}

int ethdev_port::rx_irq_disable(std::uint16_t queue) noexcept
{
    return quirk_->maskable ? rte_eth_dev_rx_intr_disable(id_, queue) : 0;
}

} // namespace

std::unique_ptr<port> make_ethdev_port(const std::string &devargs) { return std::make_unique<ethdev_port>(devargs); }

} // namespace halfpoll
