// SPDX-License-Identifier: BSD-3-Clause
//
// One port without a wire on a runtime and net_core, and a slow path with a shadow in a network namespace of its own.
// All received packets are punted.
#pragma once

#include <halfpoll/netns.hpp>
#include <halfpoll/slow_path.hpp>

#include "fake_wire.hpp"
#include "refusal.hpp"
#include "test_netns.hpp"

#include <gmock/gmock.h>
#include <rte_arp.h>
#include <rte_icmp.h>
#include <rte_ip.h>
#include <rte_mempool.h>
#include <rte_udp.h>

#include <arpa/inet.h>
#include <cstdlib>
#include <netinet/ip_icmp.h>

namespace halfpoll::test
{

inline constexpr unsigned pool_size = 2047;
inline const rte_ether_addr peer_mac{{0x02, 0xbb, 0, 0, 0, 1}};

// ---- frames ----

template <typename T>
void put(frame &f, const T &header)
{
    const auto *bytes = reinterpret_cast<const std::uint8_t *>(&header);
    f.insert(f.end(), bytes, bytes + sizeof header);
}

inline frame arp_request(const char *from, const char *to)
{
    frame f;
    rte_ether_hdr eth{};
    std::memset(eth.dst_addr.addr_bytes, 0xff, RTE_ETHER_ADDR_LEN);
    eth.src_addr = peer_mac;
    eth.ether_type = rte_cpu_to_be_16(RTE_ETHER_TYPE_ARP);
    put(f, eth);
    rte_arp_hdr arp{};
    arp.arp_hardware = rte_cpu_to_be_16(RTE_ARP_HRD_ETHER);
    arp.arp_protocol = rte_cpu_to_be_16(RTE_ETHER_TYPE_IPV4);
    arp.arp_hlen = RTE_ETHER_ADDR_LEN;
    arp.arp_plen = 4;
    arp.arp_opcode = rte_cpu_to_be_16(RTE_ARP_OP_REQUEST);
    arp.arp_data.arp_sha = peer_mac;
    arp.arp_data.arp_sip = inet_addr(from);
    arp.arp_data.arp_tip = inet_addr(to);
    put(f, arp);
    return f;
}

inline frame echo_request(const rte_ether_addr &dst, const char *from, const char *to)
{
    frame f;
    put(f, rte_ether_hdr{dst, peer_mac, rte_cpu_to_be_16(RTE_ETHER_TYPE_IPV4)});
    rte_ipv4_hdr ip{};
    ip.version_ihl = RTE_IPV4_VHL_DEF;
    ip.total_length = rte_cpu_to_be_16(sizeof ip + sizeof(rte_icmp_hdr));
    ip.time_to_live = 64;
    ip.next_proto_id = IPPROTO_ICMP;
    ip.src_addr = inet_addr(from);
    ip.dst_addr = inet_addr(to);
    ip.hdr_checksum = rte_ipv4_cksum(&ip);
    put(f, ip);
    rte_icmp_hdr icmp{};
    icmp.icmp_type = ICMP_ECHO;
    icmp.icmp_ident = 7;
    icmp.icmp_cksum = static_cast<std::uint16_t>(~rte_raw_cksum(&icmp, sizeof icmp));
    put(f, icmp);
    return f;
}

template <typename T>
const T &at(const frame &f, std::size_t offset)
{
    return *reinterpret_cast<const T *>(f.data() + offset);
}

inline bool is_arp_reply(const frame &f)
{
    return f.size() >= 42 && at<rte_ether_hdr>(f, 0).ether_type == rte_cpu_to_be_16(RTE_ETHER_TYPE_ARP) &&
           at<rte_arp_hdr>(f, 14).arp_opcode == rte_cpu_to_be_16(RTE_ARP_OP_REPLY);
}

inline bool is_ipv4(const frame &f, std::uint8_t protocol)
{
    return f.size() >= 34 && at<rte_ether_hdr>(f, 0).ether_type == rte_cpu_to_be_16(RTE_ETHER_TYPE_IPV4) &&
           at<rte_ipv4_hdr>(f, 14).next_proto_id == protocol;
}

/// The parameter is the number of slow-path threads. With HALFPOLL_TEST_VHOST in the environment vhost-net serves the
/// shadow; then nothing reports here that its interface was deleted.
class slow_path_test : public testing::TestWithParam<unsigned>
{
protected:
    slow_path_test()
    {
        pool_ = rte_pktmbuf_pool_create("slow_path_test", pool_size, 32, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
        if (!pool_) {
            throw std::runtime_error("no pool");
        }
        rt_ = std::make_unique<runtime>(runtime_options{});
        core_ = std::make_unique<net_core>(*rt_, pool_, threads());
        core_->set_rx_handler(punt_all, this);
        net_device_options options;
        options.name = "port0";
        dev_ = &core_->register_netdevice(std::make_unique<fake_port>(wire_), options);
    }

    ~slow_path_test() override
    {
        punt_to_.store(nullptr);
        rt_->synchronize_rcu();
        slow_.reset();
        core_->unregister_netdevice(*dev_);
        core_.reset();
        rt_.reset();
        EXPECT_EQ(rte_mempool_avail_count(pool_), pool_size) << "mbufs were lost";
        rte_mempool_free(pool_);
    }

    static unsigned threads() { return GetParam(); }

    static void punt_all(void *ctx, net_cpu &cpu, net_device &in, rte_mbuf **pkts, unsigned n) noexcept
    {
        auto &self = *static_cast<slow_path_test *>(ctx);
        if (slow_path *slow = self.punt_to_.load()) {
            slow->punt(cpu, in, self.punt_as_, pkts, n);
            slow->punt_flush(cpu);
        } else {
            drop_packets(cpu, DROP_NO_HANDLER, pkts, n);
        }
    }

    void start_slow_path(slow_path_options options = {})
    {
        options.netns = netns_.name();
        options.threads = threads();
        options.vhost = std::getenv("HALFPOLL_TEST_VHOST") != nullptr;
        slow_ = std::make_unique<slow_path>(*core_, options);
        punt_to_.store(slow_.get());
    }
    void stop_slow_path()
    {
        punt_to_.store(nullptr);
        rt_->synchronize_rcu();
        slow_.reset();
    }
    /// Starts a slow path with one configured shadow, lan0.
    shadow &add_lan0(const slow_path_options &options = {})
    {
        start_slow_path(options);
        shadow &s = slow_->add_shadow(*dev_, "lan0");
        slow_->set_carrier(s, true);
        netns_.ip("addr add 192.0.2.1/24 dev lan0");
        netns_.ip("link set lan0 up");
        return s;
    }
    bool sent(const std::function<bool(const frame &)> &wanted, frame *found = nullptr)
    {
        return eventually([&] {
            for (const frame &f : wire_.sent()) {
                if (wanted(f)) {
                    if (found) {
                        *found = f;
                    }
                    return true;
                }
            }
            return false;
        });
    }
    std::string link_flags(const std::string &name) { return netns_.ip("-o link show dev " + name); }

    test_netns netns_{"slow"};
    fake_wire wire_{1};
    rte_mempool *pool_ = nullptr;
    std::unique_ptr<runtime> rt_;
    std::unique_ptr<net_core> core_;
    net_device *dev_ = nullptr;
    std::unique_ptr<slow_path> slow_;
    std::atomic<slow_path *> punt_to_{nullptr};
    punt_class punt_as_ = PUNT_ARP_ND;
};

} // namespace halfpoll::test
