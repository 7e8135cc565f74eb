// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Three fake ports, a forwarder, and a slow path with a shadow in a network namespace of its own. A test puts bursts in
// and sees the result of each: sent frames, drops by reason and punts by class.

#include "fake_port.hpp"
#include "forward_model.hpp"
#include "test_netns.hpp"

#include <halfpoll/eal.hpp>
#include <halfpoll/netns.hpp>

#include <gtest/gtest.h>

#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cstring>
#include <mutex>
#include <optional>
#include <string>

namespace halfpoll::test
{

inline constexpr unsigned rig_packets = 8191;

/// The result of a burst.
struct outcome {
    std::vector<std::pair<const net_device *, bytes>> sent;
    std::array<std::uint64_t, DROP_REASONS> drops{};
    std::array<std::uint64_t, PUNT_CLASSES> punted{};

    bool operator==(const outcome &) const = default;
    /// Sorts by port and family and keeps the order within: a burst's IPv4 packets leave before its IPv6 packets.
    outcome &sort()
    {
        std::ranges::stable_sort(sent, {}, [](const auto &s) {
            const auto &f = s.second;
            std::size_t type = 12;
            while (type + 6 <= f.size() && (get16(f, type) == 0x8100 || get16(f, type) == 0x88A8)) {
                type += 4;
            }
            return std::pair(s.first->ifindex, get16(f, type));
        });
        return *this;
    }
    void add(const verdict &v)
    {
        if (v.what == verdict::sent) {
            sent.emplace_back(v.dev, v.out);
        } else {
            ++(v.what == verdict::dropped ? drops[v.detail] : punted[v.detail]);
        }
    }
};

inline void PrintTo(const outcome &o, std::ostream *out)
{
    for (unsigned i = 0; i < DROP_REASONS; i++) {
        if (o.drops[i] != 0) {
            *out << (drop_reason_name(i) ? drop_reason_name(i) : "?") << ' ' << o.drops[i] << ", ";
        }
    }
    for (unsigned i = 0; i < PUNT_CLASSES; i++) {
        if (o.punted[i] != 0) {
            *out << "punt " << to_string(static_cast<punt_class>(i)) << ' ' << o.punted[i] << ", ";
        }
    }
    for (const auto &[dev, frame] : o.sent) {
        *out << '\n' << dev->name << ' ' << frame.size() << ':' << std::hex;
        for (std::size_t i = 0; i < std::min<std::size_t>(frame.size(), 64); i++) {
            *out << ' ' << unsigned{frame[i]};
        }
        *out << std::dec;
    }
}

/// Receives the frames that a shadow hands to the kernel.
class shadow_listener
{
public:
    shadow_listener(const std::string &netns, const std::string &name)
    {
        const netns_scope scope(netns);
        fd_ = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, __builtin_bswap16(0x0003)); // ETH_P_ALL
        sockaddr_ll addr{};
        addr.sll_family = AF_PACKET;
        addr.sll_protocol = __builtin_bswap16(0x0003);
        addr.sll_ifindex = static_cast<int>(if_nametoindex(name.c_str()));
        const int room = 128 << 20;
        const int on = 1;
        if (fd_ < 0 || setsockopt(fd_, SOL_PACKET, PACKET_AUXDATA, &on, sizeof on) != 0 ||
            bind(fd_, reinterpret_cast<sockaddr *>(&addr), sizeof addr) != 0 ||
            setsockopt(fd_, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room) != 0) {
            throw std::runtime_error("no packet socket on " + name);
        }
    }
    ~shadow_listener() { close(fd_); }
    shadow_listener(const shadow_listener &) = delete;
    shadow_listener &operator=(const shadow_listener &) = delete;

    /// Returns the next n frames, or fewer if five seconds pass without one.
    std::vector<bytes> take(std::size_t n)
    {
        std::vector<bytes> frames;
        pollfd p{fd_, POLLIN, 0};
        bytes buffer(70'000);
        while (frames.size() < n && poll(&p, 1, 5000) == 1) {
            if (const ssize_t length = receive(buffer); length > 0) {
                frames.emplace_back(buffer.begin(), buffer.begin() + length);
            }
        }
        return frames;
    }
    bool silent() const
    {
        pollfd p{fd_, POLLIN, 0};
        return poll(&p, 1, 0) == 0;
    }

private:
    /// Receives a frame in its original form: the kernel removes an outer VLAN tag and reports it as auxiliary data.
    ssize_t receive(bytes &buffer) const
    {
        iovec iov{buffer.data(), buffer.size() - 4};
        alignas(cmsghdr) char control[CMSG_SPACE(sizeof(tpacket_auxdata))];
        msghdr message{};
        message.msg_iov = &iov;
        message.msg_iovlen = 1;
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        const ssize_t length = recvmsg(fd_, &message, 0);
        const cmsghdr *told = length > 12 ? CMSG_FIRSTHDR(&message) : nullptr;
        if (!told || told->cmsg_type != PACKET_AUXDATA) {
            return length;
        }
        tpacket_auxdata aux;
        std::memcpy(&aux, CMSG_DATA(told), sizeof aux);
        if (!(aux.tp_status & TP_STATUS_VLAN_VALID)) {
            return length;
        }
        std::memmove(buffer.data() + 16, buffer.data() + 12, static_cast<std::size_t>(length) - 12);
        set16(buffer, 12, aux.tp_vlan_tpid);
        set16(buffer, 14, aux.tp_vlan_tci);
        return length + 4;
    }
    int fd_;
};

class forward_rig : public testing::Test
{
protected:
    using burst = std::vector<rte_mbuf *>;

    forward_rig()
    {
        pool_ = packet_pool_create("forward_rig", rig_packets, 2176, 0);
        rt_ = std::make_unique<runtime>(runtime_options{});
        core_ = std::make_unique<net_core>(*rt_, pool_);
    }
    ~forward_rig() override
    {
        listener_.reset();
        slow_.reset();
        for (net_device *dev : core_->devices()) {
            core_->unregister_netdevice(*dev);
        }
        fwd_.reset();
        core_.reset();
        rt_.reset();
        wires_.clear();
        EXPECT_EQ(rte_mempool_avail_count(pool_), rig_packets) << "mbufs were lost";
        packet_pool_free(pool_);
    }

    /// Starts with a slow path that polices nothing, or without one: punts are then drops.
    void start(bool with_slow_path)
    {
        if (with_slow_path) {
            slow_path_options options;
            options.netns = netns_.emplace("fwd").name();
            for (punt_limit &limit : options.limits) {
                limit = {1'000'000'000, 1'000'000};
            }
            options.ring_size = ring_size_;
            slow_ = std::make_unique<slow_path>(*core_, options);
        }
        fwd_ = std::make_unique<forwarder>(*core_, slow_.get());
        core_->set_rx_handler(forwarder::receive, fwd_.get());
        in_ = &add_port("in", 1500);
        out1_ = &add_port("out1", 1500);
        out2_ = &add_port("out2", 9000);
        if (with_slow_path) {
            listen();
        }
    }
    net_device &add_port(const std::string &name, std::uint32_t mtu)
    {
        auto &wire = *wires_.emplace_back(std::make_shared<fake_wire>());
        wire.mac = {{0x02, 0, 0, 0, 0x10, static_cast<std::uint8_t>(wires_.size())}};
        net_device_options options;
        options.name = name;
        options.mtu = mtu;
        net_device &dev = core_->register_netdevice(std::make_unique<fake_port>(wires_.back()), options);
        wire.on_tx = [this, &dev](rte_mbuf **pkts, unsigned n) { record(dev, pkts, n); };
        return dev;
    }
    fake_wire &wire_of(const net_device &dev) { return *wires_[dev.ifindex - 1U]; }

    /// Adds a shadow to port `in`, in a namespace where the kernel itself sends nothing.
    void listen()
    {
        netns_->exec("sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.disable_ipv6=1 "
                     "net.ipv6.conf.default.disable_ipv6=1");
        shadow &s = slow_->add_shadow(*in_, "lan0");
        slow_->set_carrier(s, true);
        netns_->ip("link set lan0 up");
        listener_.emplace(netns_->name(), "lan0");
    }

    static bytes flat(const rte_mbuf *m)
    {
        bytes f;
        unsigned segments = 0;
        for (const rte_mbuf *s = m; s; s = s->next, segments++) {
            const auto *data = rte_pktmbuf_mtod(s, const std::uint8_t *);
            f.insert(f.end(), data, data + s->data_len);
        }
        EXPECT_EQ(segments, m->nb_segs);
        EXPECT_EQ(f.size(), m->pkt_len);
        return f;
    }
    void record(const net_device &dev, rte_mbuf **pkts, unsigned n)
    {
        const std::lock_guard lock(mutex_);
        for (unsigned i = 0; i < n; i++) {
            sent_.emplace_back(&dev, flat(pkts[i]));
        }
        rte_pktmbuf_free_bulk(pkts, n);
    }

    /// Makes a packet whose segments begin at 0, at each of the cuts (ascending), and where the segment before is full.
    rte_mbuf *packet_of(const bytes &f, const std::vector<std::size_t> &cuts = {}, unsigned headroom = 128)
    {
        rte_mbuf *head = nullptr;
        auto cut = cuts.begin();
        for (std::size_t at = 0; at < f.size();) {
            cut = std::find_if(cut, cuts.end(), [&](std::size_t c) { return c > at; });
            const std::size_t end = std::min({f.size(), at + 1900, cut == cuts.end() ? f.size() : *cut});
            rte_mbuf *m = rte_pktmbuf_alloc(pool_);
            if (!m) {
                throw std::runtime_error("pool is empty");
            }
            m->data_off = static_cast<std::uint16_t>(head ? 0 : headroom);
            std::memcpy(rte_pktmbuf_append(m, static_cast<std::uint16_t>(end - at)), f.data() + at, end - at);
            if (!head) {
                head = m;
            } else if (rte_pktmbuf_chain(head, m) != 0) {
                throw std::runtime_error("too many segments");
            }
            at = end;
        }
        return head;
    }

    /// Passes bursts to the receive handler on its CPU, with an end of poll after each.
    std::vector<outcome> receive(std::vector<burst> bursts)
    {
        std::vector<outcome> seen;
        rt_->call_on(0, [&](softnet_data &) {
            for (burst &b : bursts) {
                const outcome before = counters();
                forwarder::receive(fwd_.get(), core_->cpu(0), *in_, b.data(), static_cast<unsigned>(b.size()));
                net_poll_end(core_->cpu(0));
                seen.push_back(since(before));
            }
        });
        return seen;
    }
    outcome receive_one(const bytes &f, const std::vector<std::size_t> &cuts = {}, unsigned headroom = 128)
    {
        return receive({{packet_of(f, cuts, headroom)}}).front();
    }

    /// Expects that the interface counters agree with everything that was sent so far.
    void expect_counted(const outcome &now)
    {
        for (const auto &[dev, frame] : now.sent) {
            sent_packets_[dev->ifindex]++;
            sent_bytes_[dev->ifindex] += frame.size();
        }
        for (const net_device *dev : {in_, out1_, out2_}) {
            const dev_stats &stats = core_->cpu(0).dev[dev->ifindex];
            EXPECT_EQ(stats.tx_packets, sent_packets_[dev->ifindex]) << dev->name;
            EXPECT_EQ(stats.tx_bytes, sent_bytes_[dev->ifindex]) << dev->name;
        }
    }
    outcome counters() const
    {
        outcome now;
        for (unsigned i = 0; i < DROP_REASONS; i++) {
            now.drops[i] = core_->drops(i);
        }
        for (unsigned i = 0; slow_ && i < PUNT_CLASSES; i++) {
            now.punted[i] = slow_->punted(static_cast<punt_class>(i));
        }
        return now;
    }
    outcome since(const outcome &before)
    {
        outcome now = counters();
        for (unsigned i = 0; i < DROP_REASONS; i++) {
            now.drops[i] -= before.drops[i];
        }
        for (unsigned i = 0; i < PUNT_CLASSES; i++) {
            now.punted[i] -= before.punted[i];
        }
        const std::lock_guard lock(mutex_);
        now.sent = std::exchange(sent_, {});
        expect_counted(now);
        return now;
    }

    /// Makes a next hop with link addresses of its own. `rewrite_len` determines the number of tags, 0 to 2.
    static adjacency via(net_device &dev, unsigned rewrite_len, unsigned type, unsigned mtu, std::uint8_t mark)
    {
        adjacency a;
        a.kind = adjacency_kind::forward;
        a.rewrite_len = static_cast<std::uint8_t>(rewrite_len);
        a.ifindex = dev.ifindex;
        a.mtu = static_cast<std::uint16_t>(mtu);
        a.dev = &dev;
        bytes link{0x02, 0xDE, 0xAD, 0, 0, mark};
        link.insert(link.end(), {0x02, mark, 0, 0, 0, static_cast<std::uint8_t>(dev.ifindex)});
        const bytes tags[] = {{}, {0x81, 0, 0, mark}, {0x88, 0xA8, 0, mark, 0x81, 0, 0, 7}};
        const bytes &tag = tags[(rewrite_len - 14) / 4];
        link.insert(link.end(), tag.begin(), tag.end());
        link.insert(link.end(), {static_cast<std::uint8_t>(type >> 8), static_cast<std::uint8_t>(type)});
        std::ranges::copy(link, a.rewrite);
        return a;
    }
    static adjacency punt_as(punt_class c)
    {
        adjacency a;
        a.punt = static_cast<std::uint8_t>(c);
        return a;
    }
    static adjacency drop_as(unsigned reason)
    {
        adjacency a;
        a.kind = adjacency_kind::drop;
        a.drop = static_cast<std::uint8_t>(reason);
        return a;
    }

    std::uint32_t route4(const bytes &prefix, unsigned len, const adjacency &adj)
    {
        const std::uint32_t index = fwd_->nexthops().add(adj);
        fwd_->routes4().insert(load_be32(prefix.data()), len, index);
        model_.add_route(prefix, len, adj);
        return index;
    }
    std::uint32_t route6(const bytes &prefix, unsigned len, const adjacency &adj)
    {
        const std::uint32_t index = fwd_->nexthops().add(adj);
        ip6_addr addr;
        std::ranges::copy(prefix, addr.begin());
        fwd_->routes6().insert(addr, len, index);
        model_.add_route(prefix, len, adj);
        return index;
    }
    static std::uint32_t load_be32(const std::uint8_t *p)
    {
        return std::uint32_t{p[0]} << 24 | std::uint32_t{p[1]} << 16 | std::uint32_t{p[2]} << 8 | p[3];
    }

    unsigned ring_size_ = 2 * rig_packets; ///< of the slow path
    std::optional<test_netns> netns_;
    rte_mempool *pool_ = nullptr;
    std::unique_ptr<runtime> rt_;
    std::unique_ptr<net_core> core_;
    std::vector<std::shared_ptr<fake_wire>> wires_;
    std::unique_ptr<slow_path> slow_;
    std::unique_ptr<forwarder> fwd_;
    std::optional<shadow_listener> listener_;
    net_device *in_ = nullptr, *out1_ = nullptr, *out2_ = nullptr;
    model_router model_;
    std::mutex mutex_;
    std::vector<std::pair<const net_device *, bytes>> sent_; ///< since the last burst; protected by mutex_
    std::array<std::uint64_t, MAX_IFINDEX> sent_packets_{}, sent_bytes_{}; ///< by egress, over all bursts so far
};

} // namespace halfpoll::test
