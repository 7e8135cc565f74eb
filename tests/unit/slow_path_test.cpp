// SPDX-License-Identifier: BSD-3-Clause
#include "netio/shadow/punt_gate.hpp"
#include "netio/shadow/shadow_tap.hpp"
#include "slow_path_rig.hpp"

#include <algorithm>
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

namespace halfpoll
{
namespace
{

using namespace test;
using testing::HasSubstr;

INSTANTIATE_TEST_SUITE_P(, slow_path_test, testing::Values(1U, 2U));

TEST_P(slow_path_test, the_kernel_answers_a_punted_arp_request)
{
    shadow &s = add_lan0();
    wire_.inject(pool_, arp_request("192.0.2.2", "192.0.2.1"));
    frame reply;
    ASSERT_TRUE(sent(is_arp_reply, &reply));
    EXPECT_TRUE(rte_is_same_ether_addr(&at<rte_arp_hdr>(reply, 14).arp_data.arp_sha, &wire_.mac));
    EXPECT_EQ(at<rte_arp_hdr>(reply, 14).arp_data.arp_sip, inet_addr("192.0.2.1"));
    EXPECT_EQ(slow_->punted(PUNT_ARP_ND), 1U);
    EXPECT_EQ(s.counts().to_kernel, 1U);
    EXPECT_TRUE(eventually([&] { return s.counts().from_kernel >= 1U; }));
}

// An XDP program may have used the whole headroom for headers, and a driver may leave none.
TEST_P(slow_path_test, a_packet_may_begin_where_its_buffer_begins)
{
    add_lan0();
    rte_mbuf *m = rte_pktmbuf_alloc(pool_);
    rte_mbuf *held = nullptr; // another reference to the same bytes
    const frame f = arp_request("192.0.2.2", "192.0.2.1");
    m->data_off = 0;
    std::memcpy(rte_pktmbuf_append(m, static_cast<std::uint16_t>(f.size())), f.data(), f.size());
    rt_->call_on(0, [&](softnet_data &) {
        held = rte_pktmbuf_clone(m, pool_);
        slow_->punt(core_->cpu(0), *dev_, PUNT_ARP_ND, &m, 1);
        slow_->punt_flush(core_->cpu(0));
    });
    EXPECT_TRUE(sent(is_arp_reply));
    EXPECT_EQ(std::memcmp(rte_pktmbuf_mtod(held, const void *), f.data(), f.size()), 0);
    rte_pktmbuf_free(held);
}

TEST_P(slow_path_test, the_kernel_answers_ping)
{
    add_lan0();
    netns_.ip("neigh replace 192.0.2.2 lladdr 02:bb:00:00:00:01 dev lan0 nud permanent");
    wire_.inject(pool_, echo_request(wire_.mac, "192.0.2.2", "192.0.2.1"));
    frame reply;
    ASSERT_TRUE(sent([](const frame &f) { return is_ipv4(f, IPPROTO_ICMP); }, &reply));
    EXPECT_EQ(at<rte_icmp_hdr>(reply, 34).icmp_type, ICMP_ECHOREPLY);
    EXPECT_TRUE(rte_is_same_ether_addr(&at<rte_ether_hdr>(reply, 0).dst_addr, &peer_mac));
}

// Pairs of packets, the second of which is published while the thread carries the first or goes to sleep after it: a
// lost wake-up would leave it in the ring. The test fails without the second look in announce_sleep(), and without the
// fence in punt_flush().
TEST_P(slow_path_test, no_wakeup_is_lost)
{
    slow_path_options options;
    options.limits[PUNT_OTHER] = {.packets_per_second = 1'000'000'000, .burst = 1'000'000};
    if (std::thread::hardware_concurrency() > 1) {
        options.affinity = {1}; // not the CPU that sends the packets
    }
    shadow &s = add_lan0(options);
    frame f = arp_request("192.0.2.2", "192.0.2.1");
    f[12] = 0x88; // an experimental EtherType: an answer of the kernel would wake the thread
    f[13] = 0xb5;
    const auto publish = [&] {
        rte_mbuf *m = rte_pktmbuf_alloc(pool_);
        std::memcpy(rte_pktmbuf_append(m, static_cast<std::uint16_t>(f.size())), f.data(), f.size());
        slow_->punt(core_->cpu(0), *dev_, PUNT_OTHER, &m, 1);
        slow_->punt_flush(core_->cpu(0));
    };
    const auto wait_until = [](ktime_t end, const auto &condition) {
        while (!condition() && ktime_get() < end) {
        }
        return condition();
    };
    std::uint64_t lost_at = 0;
    rt_->call_on(0, [&](softnet_data &) {
        cpu_set_t first;
        CPU_ZERO(&first);
        CPU_SET(0, &first);
        sched_setaffinity(0, sizeof first, &first);
        for (std::uint64_t i = 1; i <= 10'000 && lost_at == 0; ++i) {
            publish();
            wait_until(ktime_get() + static_cast<ktime_t>(i * 7919 % 40'000), [] { return false; });
            publish();
            const bool both = wait_until(ktime_get() + NSEC_PER_SEC, [&] { return s.counts().to_kernel == 2 * i; });
            lost_at = both ? 0 : i;
        }
    });
    EXPECT_EQ(lost_at, 0U);
}

TEST_P(slow_path_test, each_class_is_policed_on_its_own)
{
    slow_path_options options;
    options.limits[PUNT_LOCAL] = {.packets_per_second = 0, .burst = 10};
    start_slow_path(options);
    slow_->add_shadow(*dev_, "lan0");
    punt_as_ = PUNT_LOCAL;
    for (int i = 0; i < 64; ++i) {
        wire_.inject(pool_, arp_request("192.0.2.2", "192.0.2.1"));
    }
    EXPECT_TRUE(eventually([&] { return slow_->punted(PUNT_LOCAL) + slow_->policed(PUNT_LOCAL) == 64; }));
    EXPECT_EQ(slow_->punted(PUNT_LOCAL), 10U);
    EXPECT_TRUE(eventually([&] { return core_->drops(DROP_PUNT_POLICED) == 54U; })) << core_->drops(DROP_PUNT_POLICED);
    EXPECT_EQ(slow_->policed(PUNT_ARP_ND), 0U);
}

TEST(token_bucket, passes_a_burst_and_then_the_rate)
{
    token_bucket bucket;
    bucket.set({.packets_per_second = 1000, .burst = 5}, 0);
    EXPECT_EQ(bucket.take(8, 0), 5U);
    EXPECT_EQ(bucket.take(1, 0), 0U);
    EXPECT_EQ(bucket.take(1, NSEC_PER_MSEC - 1), 0U);
    EXPECT_EQ(bucket.take(2, NSEC_PER_MSEC), 1U);
    EXPECT_EQ(bucket.take(9, 4 * NSEC_PER_MSEC), 3U);
    EXPECT_EQ(bucket.take(9, 3 * NSEC_PER_MSEC), 0U) << "a clock that goes back gives nothing";
    EXPECT_EQ(bucket.take(9, 5 * NSEC_PER_MSEC), 1U);
    EXPECT_EQ(bucket.take(9, KTIME_MAX), 5U) << "a long silence fills the bucket, and no more";
}

TEST(token_bucket, another_limit_neither_forgets_nor_grants)
{
    token_bucket bucket;
    bucket.set({.packets_per_second = 1000, .burst = 10}, 0);
    EXPECT_EQ(bucket.take(8, 0), 8U);
    bucket.change({.packets_per_second = 10, .burst = 100}, 3 * NSEC_PER_MSEC); // 2 left and 3 saved in 3 ms
    EXPECT_EQ(bucket.take(100, 3 * NSEC_PER_MSEC), 5U);
    EXPECT_EQ(bucket.take(100, 3 * NSEC_PER_MSEC + NSEC_PER_SEC), 10U) << "the new rate";
    EXPECT_EQ(bucket.take(1000, 100 * NSEC_PER_SEC), 100U) << "the new burst";
    bucket.change({.packets_per_second = 10, .burst = 1}, 300 * NSEC_PER_SEC);
    EXPECT_EQ(bucket.take(10, 300 * NSEC_PER_SEC), 1U) << "what was saved, as far as it fits";
}

TEST_P(slow_path_test, another_limit_takes_effect_while_it_runs)
{
    add_lan0({.limits = {}});
    EXPECT_THAT(refusal([&] { slow_->set_limit(PUNT_ARP_ND, {.packets_per_second = 1, .burst = 0}); }),
                HasSubstr("1 to 1000000000 packets"));
    slow_->set_limit(PUNT_ARP_ND, {.packets_per_second = 0, .burst = 6}); // unknown sources get half of it
    frame f = arp_request("192.0.2.10", "192.0.2.1");
    for (int i = 0; i < 10; ++i) { // each from another source: a single source gets only a share
        f[11]++;                   // source link address
        f[31]++;                   // sender's IP address
        wire_.inject(pool_, f);
    }
    EXPECT_TRUE(eventually([&] { return slow_->punted(PUNT_ARP_ND) + slow_->policed(PUNT_ARP_ND) == 10; }));
    EXPECT_EQ(slow_->punted(PUNT_ARP_ND), 3U);
}

TEST(token_bucket, keeps_its_rate_in_uneven_steps)
{
    token_bucket bucket;
    bucket.set({.packets_per_second = 700'000, .burst = 100}, 0);
    bucket.take(100, 0);
    unsigned passed = 0;
    for (ktime_t now = 0; now <= NSEC_PER_SEC; now += 997) {
        passed += bucket.take(3, now);
    }
    EXPECT_NEAR(passed, 700'000, 2);
}

TEST_P(slow_path_test, a_full_ring_drops_and_keeps_order)
{
    start_slow_path();
    shadow &s = slow_->add_shadow(*dev_, "lan0");
    rt_->call_on(0, [&](softnet_data &) {
        const punt_limits plenty;
        const known_sources nobody;
        punt_gate gate(nobody, plenty, 1, 8, 0);
        rte_mbuf *pkts[12];
        ASSERT_EQ(rte_pktmbuf_alloc_bulk(pool_, pkts, 12), 0);
        rte_mbuf *const first = pkts[0];
        EXPECT_EQ(gate.punt(core_->cpu(0), s, PUNT_OTHER, pkts, 9, 0).queued, 6U)
            << "a quarter of the ring is not for all";
        EXPECT_EQ(gate.punt(core_->cpu(0), s, PUNT_ROUTING, pkts + 9, 3, 0).queued, 2U);
        EXPECT_EQ(gate.take_dirty(), 1U);
        EXPECT_EQ(gate.take_dirty(), 0U);
        rte_mbuf *out[NET_BURST];
        shadow *to[NET_BURST];
        ASSERT_EQ(gate.ring(0).dequeue(out, to), 8U);
        EXPECT_EQ(out[0], first);
        EXPECT_EQ(to[7], &s);
        EXPECT_EQ(gate.punt(core_->cpu(0), s, PUNT_ROUTING, out, 4, 0).queued, 4U);
        rte_pktmbuf_free_bulk(out + 4, 4);
    }); // four packets stay in the ring: its destructor must free them
    EXPECT_EQ(core_->drops(DROP_PUNT_FULL), 4U);
}

// What the kernel forwards has no rate, and never more than half of the ring.
TEST_P(slow_path_test, what_the_kernel_forwards_fills_half_of_the_ring)
{
    start_slow_path();
    shadow &s = slow_->add_shadow(*dev_, "lan0");
    rt_->call_on(0, [&](softnet_data &) {
        const known_sources nobody;
        punt_gate gate(nobody, punt_limits(), 1, 64, 0);
        const auto punt = [&](punt_class c, unsigned n, ktime_t now = 0) {
            rte_mbuf *pkts[NET_BURST];
            EXPECT_EQ(rte_pktmbuf_alloc_bulk(pool_, pkts, n), 0);
            return gate.punt(core_->cpu(0), s, c, pkts, n, now);
        };
        const auto empty = [&] {
            rte_mbuf *pkts[NET_BURST];
            shadow *to[NET_BURST];
            while (const unsigned n = gate.ring(0).dequeue(pkts, to)) {
                rte_pktmbuf_free_bulk(pkts, n);
            }
        };
        EXPECT_EQ(punt(PUNT_KERNEL, 30).queued, 30U);
        const punt_result second = punt(PUNT_KERNEL, 30);
        EXPECT_EQ(second.queued, 2U) << "half of the ring";
        EXPECT_EQ(second.full, 28U);
        EXPECT_EQ(punt(PUNT_LOCAL, 30).queued, 16U) << "three quarters";
        EXPECT_EQ(punt(PUNT_ARP_ND, 30).queued, 16U) << "all of it";
        empty();
        unsigned policed = 0;
        constexpr ktime_t step = 2'000; // 20 packets in it are ten million in a second
        for (ktime_t now = 0; now < NSEC_PER_SEC / 4; now += step) {
            policed += punt(PUNT_KERNEL, 20, now).policed;
            empty();
        }
        EXPECT_EQ(policed, 0U) << "a CPU's ring is the limit";
    });
}

// Any number of invented sources flood: a known source loses nothing, and one that floods uses up only the half of the
// unknown ones.
TEST_P(slow_path_test, a_known_source_keeps_its_share_whoever_floods)
{
    start_slow_path();
    shadow &s = slow_->add_shadow(*dev_, "lan0");
    rt_->call_on(0, [&](softnet_data &) {
        punt_limits limits;
        limits[PUNT_ARP_ND] = limits[PUNT_ROUTING] = {.packets_per_second = 0, .burst = 40};
        known_sources known;
        const auto mac_of = [](std::uint16_t host) {
            return std::array<std::uint8_t, 6>{
                2, 0xbb, 0, 0, static_cast<std::uint8_t>(host >> 8), static_cast<std::uint8_t>(host)};
        };
        const auto ip_of = [](std::uint16_t host) {
            return std::array<std::uint8_t, 4>{192, 0, static_cast<std::uint8_t>(host >> 8),
                                               static_cast<std::uint8_t>(host)};
        };
        punt_gate gate(known, limits, 1, 1024, 0);
        const auto punt_from = [&](punt_class c, std::uint16_t host, unsigned n) {
            unsigned passed = 0;
            for (unsigned i = 0; i < n; ++i) {
                frame f = c == PUNT_ARP_ND ? arp_request("192.0.2.2", "192.0.2.1")
                                           : echo_request(wire_.mac, "192.0.2.2", "192.0.2.1");
                std::ranges::copy(mac_of(host), f.begin() + 6);
                if (c == PUNT_ROUTING) {
                    std::ranges::copy(ip_of(host), f.begin() + 26);
                }
                rte_mbuf *m = rte_pktmbuf_alloc(pool_);
                std::memcpy(rte_pktmbuf_append(m, static_cast<std::uint16_t>(f.size())), f.data(), f.size());
                passed += gate.punt(core_->cpu(0), s, c, &m, 1, 0).queued;
            }
            return passed;
        };
        for (const std::uint16_t host : {std::uint16_t{2}, std::uint16_t{3}}) {
            known.add(known.id_of(mac_of(host).data(), 6));
            known.add(known.id_of(ip_of(host).data(), 4));
        }
        for (const punt_class c : {PUNT_ARP_ND, PUNT_ROUTING}) {
            EXPECT_EQ(punt_from(c, 1, 1000), 10U) << "a quarter for one that floods";
            unsigned strangers = 10;
            for (unsigned host = 1000; host < 3000; ++host) {
                strangers += punt_from(c, static_cast<std::uint16_t>(host), 1);
            }
            EXPECT_EQ(strangers, 20U) << "half for all that nobody knows";
            EXPECT_EQ(punt_from(c, 2, 5), 5U);
            EXPECT_EQ(punt_from(c, 3, 5), 5U);
            EXPECT_LE(punt_from(c, 2, 1000), 5U) << "known ones are limited, too";
        }
        known.remove(known.id_of(mac_of(3).data(), 6));
        EXPECT_FALSE(known.contains(known.id_of(mac_of(3).data(), 6)));
        EXPECT_EQ(punt_from(PUNT_ARP_ND, 3, 10), 0U);
    });
}

TEST(known_sources, are_counted_and_secret)
{
    known_sources a;
    const known_sources b;
    const std::uint8_t mac[6] = {2, 0xbb, 0, 0, 0, 1};
    EXPECT_NE(a.id_of(mac, 6), b.id_of(mac, 6));
    EXPECT_NE(a.id_of(mac, 6), a.id_of(mac, 4));
    const source_id id = a.id_of(mac, 6);
    EXPECT_FALSE(a.contains(id));
    a.add(id);
    a.add(id);
    a.remove(id);
    EXPECT_TRUE(a.contains(id));
    a.remove(id);
    EXPECT_FALSE(a.contains(id));
    a.remove(id);
    std::vector<source_id> many;
    for (std::uint32_t i = 0; i < 8000; ++i) {
        many.push_back(a.id_of(reinterpret_cast<const std::uint8_t *>(&i), sizeof i));
        a.add(many.back());
    }
    const auto held = std::ranges::count_if(many, [&](source_id each) { return a.contains(each); });
    EXPECT_GT(held, 7950);
    std::ranges::for_each(many, [&](source_id each) { a.remove(each); });
    EXPECT_TRUE(std::ranges::none_of(many, [&](source_id each) { return a.contains(each); }));
}

TEST_P(slow_path_test, a_grant_is_charged_once)
{
    start_slow_path();
    shadow &s = slow_->add_shadow(*dev_, "lan0");
    rt_->call_on(0, [&](softnet_data &) {
        punt_limits limits;
        limits[PUNT_REDIRECT] = {.packets_per_second = 0, .burst = 2};
        const known_sources nobody;
        punt_gate gate(nobody, limits, 1, 8, 0);
        for (const bool granted : {true, true, false}) {
            EXPECT_EQ(gate.grant(PUNT_REDIRECT, 0), granted);
            rte_mbuf *m = rte_pktmbuf_alloc(pool_);
            EXPECT_EQ(granted ? gate.punt(core_->cpu(0), s, PUNT_REDIRECT, &m, 1, 0).queued : (rte_pktmbuf_free(m), 1U),
                      1U);
        }
    });
}

TEST_P(slow_path_test, the_kernels_partial_checksum_is_completed)
{
    add_lan0();
    netns_.ip("neigh replace 192.0.2.2 lladdr 02:bb:00:00:00:01 dev lan0 nud permanent");
    int fd;
    {
        const netns_scope inside(netns_.name());
        fd = socket(AF_INET, SOCK_DGRAM, 0);
    }
    ASSERT_GE(fd, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(9);
    to.sin_addr.s_addr = inet_addr("192.0.2.2");
    for (const std::string payload : {"a", "even", "an odd one of some length, 1", "an even one of some length"}) {
        wire_.forget_sent();
        ASSERT_EQ(sendto(fd, payload.data(), payload.size(), 0, reinterpret_cast<sockaddr *>(&to), sizeof to),
                  static_cast<ssize_t>(payload.size()));
        frame f;
        ASSERT_TRUE(sent([](const frame &g) { return is_ipv4(g, IPPROTO_UDP); }, &f));
        const std::uint16_t sum = at<rte_udp_hdr>(f, 34).dgram_cksum;
        auto &udp = *reinterpret_cast<rte_udp_hdr *>(f.data() + 34);
        udp.dgram_cksum = 0;
        EXPECT_EQ(sum, rte_ipv4_udptcp_cksum(&at<rte_ipv4_hdr>(f, 14), &udp)) << payload;
    }
    close(fd);
}

TEST_P(slow_path_test, a_shadow_outlives_its_process_and_is_adopted_with_its_addresses)
{
    EXPECT_TRUE(add_lan0().created);
    netns_.ip("-6 addr add 2001:db8::1/64 dev lan0 nodad");
    const int before = slow_->shadows().front()->kernel_ifindex;
    stop_slow_path();
    EXPECT_THAT(link_flags("lan0"), HasSubstr("NO-CARRIER")) << "carrier is down while nobody owns it";

    start_slow_path();
    shadow &s = slow_->add_shadow(*dev_, "lan0");
    EXPECT_FALSE(s.created);
    EXPECT_EQ(s.kernel_ifindex, before);
    EXPECT_EQ(slow_->of_kernel_ifindex(before), &s);
    EXPECT_EQ(slow_->of_device(*dev_), &s);
    const std::string addresses = netns_.ip("addr show dev lan0");
    EXPECT_THAT(addresses, HasSubstr("192.0.2.1/24"));
    EXPECT_THAT(addresses, HasSubstr("2001:db8::1/64"));
    wire_.inject(pool_, arp_request("192.0.2.2", "192.0.2.1"));
    EXPECT_TRUE(sent(is_arp_reply));
}

TEST_P(slow_path_test, a_new_shadow_is_like_its_device_and_down)
{
    start_slow_path();
    dev_->mtu = 1400;
    slow_->add_shadow(*dev_, "lan0");
    const std::string link = link_flags("lan0");
    EXPECT_THAT(link, HasSubstr("mtu 1400"));
    EXPECT_THAT(link, HasSubstr("02:00:00:00:00:01"));
    EXPECT_THAT(link, testing::Not(HasSubstr("UP")));
}

TEST_P(slow_path_test, carrier_follows)
{
    shadow &s = add_lan0();
    EXPECT_THAT(link_flags("lan0"), HasSubstr("LOWER_UP"));
    slow_->set_carrier(s, false);
    EXPECT_THAT(link_flags("lan0"), HasSubstr("NO-CARRIER"));
    slow_->set_carrier(s, true);
    EXPECT_THAT(link_flags("lan0"), HasSubstr("LOWER_UP"));
}

TEST_P(slow_path_test, removal_takes_the_interface_away_only_if_asked)
{
    shadow &s = add_lan0();
    slow_->remove_shadow(s, false);
    EXPECT_THAT(link_flags("lan0"), HasSubstr("NO-CARRIER"));
    EXPECT_EQ(slow_->of_device(*dev_), nullptr);
    slow_->remove_shadow(slow_->add_shadow(*dev_, "lan0"), true);
    EXPECT_EQ(netns_.ip("-o link show type tun"), "");
}

TEST_P(slow_path_test, removal_while_packets_come_loses_no_buffer)
{
    for (int round = 0; round < 20; ++round) {
        if (!slow_) {
            start_slow_path();
        }
        shadow &s = slow_->add_shadow(*dev_, "lan0");
        for (int i = 0; i < 100; ++i) {
            wire_.inject(pool_, arp_request("192.0.2.2", "192.0.2.1"));
        }
        if (round % 2) {
            stop_slow_path();
        } else {
            slow_->remove_shadow(s, true);
        }
    }
}

TEST_P(slow_path_test, frames_to_a_shadow_that_is_down_are_counted_drops)
{
    start_slow_path();
    shadow &s = slow_->add_shadow(*dev_, "lan0");
    wire_.inject(pool_, arp_request("192.0.2.2", "192.0.2.1"));
    EXPECT_TRUE(eventually([&] { return s.counts().to_kernel_drops == 1; }));
    EXPECT_EQ(s.counts().to_kernel, 0U);
}

TEST_P(slow_path_test, a_frame_longer_than_a_buffer_is_a_counted_drop)
{
    shadow &s = add_lan0();
    netns_.ip("link set lan0 mtu 9000");
    netns_.ip("neigh replace 192.0.2.2 lladdr 02:bb:00:00:00:01 dev lan0 nud permanent");
    const auto before = s.counts().from_kernel_drops;
    run("ip netns exec " + netns_.name() + " ping -c 1 -W 1 -s 4000 -M do 192.0.2.2");
    EXPECT_TRUE(eventually([&] { return s.counts().from_kernel_drops == before + 1; }));
    netns_.exec("sh -c 'ping -c 1 -W 1 -s 1000 192.0.2.2 || true'");
    EXPECT_TRUE(sent([](const frame &f) { return is_ipv4(f, IPPROTO_ICMP); })) << "the next one passes";
}

TEST_P(slow_path_test, an_interface_that_somebody_deletes_leaves_the_rest_working)
{
    shadow &s = add_lan0();
    netns_.ip("link del lan0");
    wire_.inject(pool_, arp_request("192.0.2.2", "192.0.2.1"));
    EXPECT_TRUE(eventually([&] { return s.counts().to_kernel_drops == 1; }));
    slow_->remove_shadow(s, true);
    slow_->set_carrier(slow_->add_shadow(*dev_, "lan1"), true);
    netns_.ip("addr add 192.0.2.1/24 dev lan1");
    netns_.ip("link set lan1 up");
    wire_.inject(pool_, arp_request("192.0.2.2", "192.0.2.1"));
    EXPECT_TRUE(sent(is_arp_reply));
}

TEST_P(slow_path_test, a_deleted_interface_is_reported_and_made_again)
{
    shadow &s = add_lan0();
    shadow *reported = nullptr;
    slow_->on_deleted = [&](shadow &gone) { reported = &gone; };
    netns_.ip("link del lan0");
    EXPECT_TRUE(eventually([&] {
        core_->run_control();
        return reported == &s;
    }));
    EXPECT_NE(s.failure, "");
    slow_->set_carrier(s, true); // there is no interface to set it on; the next one gets it
    const int before = s.kernel_ifindex;
    slow_->reopen_shadow(s);
    EXPECT_EQ(s.failure, "");
    EXPECT_NE(s.kernel_ifindex, before);
    EXPECT_EQ(slow_->of_kernel_ifindex(s.kernel_ifindex), &s);
    netns_.ip("addr add 192.0.2.1/24 dev lan0");
    netns_.ip("link set lan0 up");
    wire_.inject(pool_, arp_request("192.0.2.2", "192.0.2.1"));
    EXPECT_TRUE(sent(is_arp_reply)) << "both ways work";
    EXPECT_THAT(link_flags("lan0"), HasSubstr("LOWER_UP"));
}

TEST_P(slow_path_test, a_deleted_interface_whose_name_was_taken_is_not_made_again)
{
    shadow &s = add_lan0();
    netns_.ip("link del lan0");
    ASSERT_TRUE(eventually([&] { return s.deleted(); }));
    netns_.ip("link add lan0 type veth peer name lan1");
    EXPECT_THAT(refusal([&] { slow_->reopen_shadow(s); }),
                HasSubstr(threads() == 1 ? "not a single-queue TAP" : "not a multi-queue TAP"));
    EXPECT_THAT(s.failure, HasSubstr("lan0"));
    netns_.ip("link del lan0");
    slow_->reopen_shadow(s);
    EXPECT_EQ(s.failure, "");
}

TEST_P(slow_path_test, mtu_follows_and_a_released_interface_can_be_destroyed)
{
    shadow &s = add_lan0();
    netns_.ip("link set lan0 down");
    netns_.ip("link set lan0 name renamed");
    slow_->set_mtu(s, 1400);
    EXPECT_THAT(link_flags("renamed"), HasSubstr("mtu 1400"));
    slow_->destroy_released("renamed"); // the interface is in use: it stays
    EXPECT_THAT(link_flags("renamed"), HasSubstr("mtu 1400"));
    slow_->remove_shadow(s, false);
    slow_->destroy_released("renamed");
    EXPECT_EQ(netns_.ip("-o link").find("renamed"), std::string::npos);
    slow_->destroy_released("renamed"); // a second time it does nothing
    EXPECT_EQ(netns_.ip("-o link").find("renamed"), std::string::npos);
}

// ---- TCP through the shadow, whose other end is a kernel ----

/// A host at the other end of the wire: the kernel of another namespace, without offloads.
class neighbour
{
public:
    neighbour(fake_wire &wire, rte_mempool *pool) : wire_(wire), pool_(pool)
    {
        {
            const netns_scope inside(netns_.name());
            fd_ = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
            ifreq request{};
            std::strcpy(request.ifr_name, "eth0");
            request.ifr_flags = IFF_TAP | IFF_NO_PI;
            if (fd_ < 0 || ioctl(fd_, TUNSETIFF, &request) < 0) {
                throw std::runtime_error("no TAP");
            }
        }
        netns_.ip("addr add 192.0.2.2/24 dev eth0");
        netns_.ip("addr add 2001:db8::2/64 dev eth0 nodad");
        netns_.ip("link set eth0 up");
        pump_ = std::thread([this] { pump(); });
    }
    ~neighbour()
    {
        stop_ = true;
        pump_.join();
        close(fd_);
    }
    neighbour(const neighbour &) = delete;
    neighbour &operator=(const neighbour &) = delete;
    const std::string &netns() const { return netns_.name(); }

private:
    void pump()
    {
        while (!stop_) {
            const std::vector<frame> sent = wire_.take_sent();
            for (const frame &f : sent) {
                [[maybe_unused]] const ssize_t written = write(fd_, f.data(), f.size());
            }
            frame f(2000);
            ssize_t got = 0;
            while (rte_mempool_avail_count(pool_) > pool_size / 2 && (got = read(fd_, f.data(), f.size())) > 0) {
                wire_.inject(pool_, {f.begin(), f.begin() + got});
            }
            if (sent.empty() && got <= 0) {
                usleep(100);
            }
        }
    }

    test_netns netns_{"slow-neighbour"};
    fake_wire &wire_;
    rte_mempool *pool_;
    int fd_ = -1;
    std::atomic<bool> stop_{false};
    std::thread pump_;
};

/// A TCP connection from one namespace to an address of another one.
struct connection {
    int client = -1, server = -1;

    connection(const std::string &from, const std::string &to, int family, const sockaddr *address, socklen_t length)
    {
        const int listener = socket_in(to, family);
        client = socket_in(from, family);
        const int one = 1;
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (bind(listener, address, length) == 0 && listen(listener, 1) == 0 && connect(client, address, length) == 0) {
            server = accept(listener, nullptr, nullptr);
        }
        close(listener);
    }
    ~connection()
    {
        close(client);
        close(server);
    }
    connection(const connection &) = delete;
    connection &operator=(const connection &) = delete;

    static int socket_in(const std::string &netns, int family)
    {
        const netns_scope inside(netns);
        return socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    }
    /// Sends bytes from one end to the other, and returns what arrives.
    static frame carry(int from, int to, const frame &data)
    {
        std::thread sender([&] {
            for (std::size_t at = 0; at < data.size();) {
                const ssize_t n = send(from, data.data() + at, data.size() - at, MSG_NOSIGNAL);
                if (n <= 0) {
                    break;
                }
                at += static_cast<std::size_t>(n);
            }
        });
        frame arrived(data.size());
        std::size_t at = 0;
        for (ssize_t n = 1; at < arrived.size() && n > 0; at += n > 0 ? static_cast<std::size_t>(n) : 0) {
            n = recv(to, arrived.data() + at, arrived.size() - at, 0);
        }
        sender.join();
        arrived.resize(at);
        return arrived;
    }
};

frame pattern(std::size_t length)
{
    frame f(length);
    for (std::size_t i = 0; i < length; ++i) {
        f[i] = static_cast<std::uint8_t>(i * 2654435761U >> 13);
    }
    return f;
}

/// Connections to TCP port 5001 of lan0 for both families carry bytes both ways.
class slow_path_bulk_test : public slow_path_test
{
protected:
    slow_path_bulk_test() { punt_as_ = PUNT_KERNEL; }

    void carry_both_ways(const neighbour &peer, std::size_t length)
    {
        sockaddr_in v4{};
        v4.sin_family = AF_INET;
        v4.sin_port = htons(5001);
        v4.sin_addr.s_addr = inet_addr("192.0.2.1");
        sockaddr_in6 v6{};
        v6.sin6_family = AF_INET6;
        v6.sin6_port = htons(5001);
        inet_pton(AF_INET6, "2001:db8::1", &v6.sin6_addr);
        carry(peer, AF_INET, reinterpret_cast<sockaddr *>(&v4), sizeof v4, length);
        carry(peer, AF_INET6, reinterpret_cast<sockaddr *>(&v6), sizeof v6, length);
    }
    std::uint64_t kernel_counts(const std::string &what)
    {
        return std::stoull(netns_.exec("cat /sys/class/net/lan0/statistics/" + what));
    }

private:
    void carry(const neighbour &peer, int family, const sockaddr *address, socklen_t size, std::size_t length)
    {
        const connection c(peer.netns(), netns_.name(), family, address, size);
        ASSERT_GE(c.server, 0) << std::strerror(errno);
        const frame data = pattern(length);
        EXPECT_TRUE(connection::carry(c.client, c.server, data) == data);
        EXPECT_TRUE(connection::carry(c.server, c.client, data) == data);
    }
};

INSTANTIATE_TEST_SUITE_P(, slow_path_bulk_test, testing::Values(1U, 2U));

TEST_P(slow_path_bulk_test, tcp_passes_both_ways_in_frames_of_many_packets)
{
    shadow &s = add_lan0();
    netns_.ip("addr add 2001:db8::1/64 dev lan0 nodad");
    const neighbour peer(wire_, pool_);
    carry_both_ways(peer, 4'000'000);
    EXPECT_GE(s.counts().to_kernel, 2 * 4'000'000U / 1460) << "packets of the wire are counted";
    EXPECT_GE(s.counts().from_kernel, 2 * 4'000'000U / 1460);
    EXPECT_LT(kernel_counts("rx_packets"), s.counts().to_kernel);
    EXPECT_LT(2 * kernel_counts("tx_packets"), s.counts().from_kernel);
}

TEST_P(slow_path_bulk_test, ethtool_shows_the_offloads_and_is_obeyed)
{
    if (run("ethtool --version").status != 0) {
        GTEST_SKIP() << "there is no ethtool";
    }
    shadow &s = add_lan0();
    netns_.ip("addr add 2001:db8::1/64 dev lan0 nodad");
    const std::string features = netns_.exec("ethtool -k lan0");
    EXPECT_THAT(features, HasSubstr("tcp-segmentation-offload: on"));
    EXPECT_THAT(features, HasSubstr("tx-tcp6-segmentation: on"));
    EXPECT_THAT(features, HasSubstr(s.uso ? "tx-udp-segmentation: on" : "tx-udp-segmentation: off"));
    EXPECT_TRUE(s.gro);
    EXPECT_FALSE(s.gro_udp) << "as in the kernel, unless it is asked for";
    netns_.exec("ethtool -K lan0 rx-udp-gro-forwarding on");
    slow_->look_at_offloads(s);
    EXPECT_EQ(s.gro_udp, s.uso);
    netns_.exec("ethtool -K lan0 tso off gro off");
    slow_->look_at_offloads(s);
    EXPECT_FALSE(s.gro);
    EXPECT_FALSE(s.gro_udp);
    const neighbour peer(wire_, pool_);
    carry_both_ways(peer, 300'000);
    EXPECT_TRUE(eventually([&] { return kernel_counts("rx_packets") == s.counts().to_kernel; }));
    EXPECT_TRUE(eventually(
        [&] { return kernel_counts("tx_packets") == s.counts().from_kernel + s.counts().from_kernel_drops; }));
}

TEST_P(slow_path_bulk_test, an_interface_that_was_made_without_frame_headers_is_adopted)
{
    netns_.ip(std::string("tuntap add lan0 mode tap") + (threads() == 1 ? "" : " multi_queue"));
    shadow &s = add_lan0();
    EXPECT_FALSE(s.created);
    netns_.ip("addr add 2001:db8::1/64 dev lan0 nodad");
    const neighbour peer(wire_, pool_);
    carry_both_ways(peer, 1'000'000);
    EXPECT_LT(kernel_counts("tx_packets"), s.counts().from_kernel);
}

// ---- the interface is renamed or moved ----

TEST_P(slow_path_test, a_renamed_interface_is_followed_and_found_again)
{
    shadow &s = add_lan0();
    const int index = s.kernel_ifindex;
    netns_.ip("link set lan0 down");
    netns_.ip("link set lan0 name lan9");
    EXPECT_TRUE(slow_->look_at(s));
    EXPECT_EQ(s.name, "lan9");
    EXPECT_FALSE(slow_->look_at(s)) << "nothing new";
    for (const std::string name : {"lan0", "lan9", "lan9"}) { // name that the configuration gives at the next starts
        stop_slow_path();
        start_slow_path();
        const shadow &again = slow_->add_shadow(*dev_, name);
        EXPECT_FALSE(again.created);
        EXPECT_EQ(again.name, "lan9");
        EXPECT_EQ(again.identity, name);
        EXPECT_EQ(again.kernel_ifindex, index);
    }
    stop_slow_path();
    start_slow_path();
    EXPECT_TRUE(slow_->add_shadow(*dev_, "lan0").created) << "it is called lan9 for good";
}

TEST_P(slow_path_test, an_interface_in_another_namespace_works_there)
{
    test_netns there("slow-there");
    shadow &s = add_lan0();
    const int index = s.kernel_ifindex;
    netns_.ip("link set lan0 netns " + there.name());
    EXPECT_TRUE(slow_->look_at(s));
    EXPECT_TRUE(s.moved);
    EXPECT_EQ(slow_->of_kernel_ifindex(index), nullptr) << "that number may be another one's here";
    slow_->set_mtu(s, 1400);
    EXPECT_THAT(there.ip("-o link show dev lan0"), HasSubstr("mtu 1400"));
    there.ip("addr add 192.0.2.1/24 dev lan0");
    there.ip("link set lan0 up");
    wire_.inject(pool_, arp_request("192.0.2.2", "192.0.2.1"));
    EXPECT_TRUE(sent(is_arp_reply));
    there.ip("link set lan0 name lan7");
    there.ip("link set lan7 netns " + netns_.name());
    EXPECT_TRUE(slow_->look_at(s));
    EXPECT_FALSE(s.moved);
    EXPECT_EQ(s.name, "lan7");
    EXPECT_EQ(slow_->of_kernel_ifindex(s.kernel_ifindex), &s);
}

TEST_P(slow_path_test, an_interface_is_given_up_exchanged_and_taken_back)
{
    shadow &s = add_lan0();
    EXPECT_THAT(refusal([&] { slow_->check_shadow("lan0"); }), HasSubstr("holds the interface")); // this process
    slow_->check_shadow("lan1");
    EXPECT_EQ(netns_.ip("-o link").find("lan1"), std::string::npos);
    slow_->release_shadow(s, "given up");
    slow_->check_shadow("lan0");
    EXPECT_THAT(link_flags("lan0"), HasSubstr("NO-CARRIER"));
    wire_.inject(pool_, arp_request("192.0.2.2", "192.0.2.1"));
    EXPECT_TRUE(eventually([&] { return s.counts().to_kernel_drops == 1; }));
    EXPECT_EQ(s.failure, "given up");
    slow_->exchange_shadow(s, "lan1");
    EXPECT_TRUE(s.created);
    slow_->exchange_shadow(s, "lan0");
    EXPECT_FALSE(s.created);
    EXPECT_EQ(s.failure, "");
    slow_->destroy_released("lan1");
    EXPECT_EQ(netns_.ip("-o link").find("lan1"), std::string::npos);
    wire_.inject(pool_, arp_request("192.0.2.2", "192.0.2.1"));
    EXPECT_TRUE(sent(is_arp_reply)) << "with its addresses";
}

// ---- another process holds the interface ----

class holder
{
public:
    explicit holder(const std::string &netns, const std::string &name, unsigned queues = 1)
    {
        int ready[2];
        if (pipe(ready) != 0) {
            throw std::runtime_error("pipe");
        }
        pid_ = fork();
        if (pid_ == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            tap_open(netns, name, queues, peer_mac, 1500);
            [[maybe_unused]] const ssize_t said = write(ready[1], "x", 1);
            pause();
            _exit(0);
        }
        char byte;
        close(ready[1]);
        held_ = read(ready[0], &byte, 1) == 1;
        close(ready[0]);
    }
    ~holder() { kill(); }
    void kill()
    {
        if (pid_ > 0) {
            ::kill(pid_, SIGKILL);
            waitpid(std::exchange(pid_, -1), nullptr, 0);
        }
    }
    bool held() const { return held_; }

private:
    pid_t pid_ = -1;
    bool held_ = false;
};

TEST_P(slow_path_test, an_interface_held_by_another_process_is_refused_until_that_one_is_killed)
{
    holder other(netns_.name(), "lan0", threads());
    ASSERT_TRUE(other.held());
    start_slow_path();
    EXPECT_THAT(refusal([&] { slow_->add_shadow(*dev_, "lan0"); }), HasSubstr("another process holds"));
    EXPECT_EQ(slow_->of_device(*dev_), nullptr);
    other.kill();
    EXPECT_FALSE(slow_->add_shadow(*dev_, "lan0").created);
    EXPECT_THAT(link_flags("lan0"), HasSubstr("02:00:00:00:00:01")) << "the device's MAC";
}

TEST_P(slow_path_test, an_interface_of_another_kind_is_refused)
{
    netns_.ip("link add lan0 type veth peer name lan1");
    start_slow_path();
    EXPECT_THAT(refusal([&] { slow_->add_shadow(*dev_, "lan0"); }),
                HasSubstr(threads() == 1 ? "not a single-queue TAP" : "not a multi-queue TAP"));
}

TEST_P(slow_path_test, a_second_shadow_for_a_device_is_refused)
{
    start_slow_path();
    slow_->add_shadow(*dev_, "lan0");
    EXPECT_THAT(refusal([&] { slow_->add_shadow(*dev_, "lan1"); }), HasSubstr("already has the shadow lan0"));
    EXPECT_THAT(refusal([&] { slow_->add_shadow(*dev_, "a-name-of-16-byt"); }), HasSubstr("already has"));
}

TEST_P(slow_path_test, names_and_namespaces_that_cannot_be_are_refused)
{
    const auto home = std::filesystem::read_symlink("/proc/thread-self/ns/net");
    slow_path_options options;
    options.netns = "hp-no-such-namespace";
    options.threads = threads();
    slow_path nowhere(*core_, options);
    EXPECT_THAT(refusal([&] { nowhere.add_shadow(*dev_, "lan0"); }),
                HasSubstr("/run/netns/hp-no-such-namespace (create it: ip netns add hp-no-such-namespace)"));
    EXPECT_EQ(nowhere.of_device(*dev_), nullptr);
    start_slow_path();
    EXPECT_THAT(refusal([&] { slow_->add_shadow(*dev_, "a-name-of-16-byt"); }), HasSubstr("1 to 15 characters"));
    EXPECT_EQ(std::filesystem::read_symlink("/proc/thread-self/ns/net"), home);
}

TEST(slow_path, classes_have_names)
{
    EXPECT_STREQ(to_string(PUNT_ARP_ND), "arp_nd");
    EXPECT_STREQ(to_string(PUNT_KERNEL), "kernel");
    EXPECT_STREQ(to_string(PUNT_OTHER), "other");
}

} // namespace
} // namespace halfpoll
