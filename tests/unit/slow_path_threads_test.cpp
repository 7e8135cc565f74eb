// SPDX-License-Identifier: BSD-3-Clause
//
// A slow path of several threads, and shadows with a queue for each of them.
#include "netio/shadow/punt_gate.hpp"
#include "slow_path_rig.hpp"

#include <halfpoll/flow_hash.hpp>

#include <algorithm>
#include <cstring>
#include <map>
#include <numeric>
#include <set>
#include <sys/socket.h>
#include <unistd.h>

namespace halfpoll
{
namespace
{

using namespace test;
using testing::HasSubstr;

constexpr std::uint16_t first_flow = 20'000, port = 9000;

/// A datagram of a flow, which is its source port, to 192.0.2.1; the payload is a number. `offset`: as in the header of
/// a fragment.
frame datagram(const rte_ether_addr &dst, std::uint16_t flow, std::uint32_t number, std::uint16_t offset = 0,
               std::uint16_t to_port = port)
{
    frame f;
    put(f, rte_ether_hdr{dst, peer_mac, rte_cpu_to_be_16(RTE_ETHER_TYPE_IPV4)});
    rte_ipv4_hdr ip{};
    ip.version_ihl = RTE_IPV4_VHL_DEF;
    ip.total_length = rte_cpu_to_be_16(sizeof ip + sizeof(rte_udp_hdr) + sizeof number);
    ip.fragment_offset = rte_cpu_to_be_16(offset);
    ip.time_to_live = 64;
    ip.next_proto_id = IPPROTO_UDP;
    ip.src_addr = inet_addr("192.0.2.2");
    ip.dst_addr = inet_addr("192.0.2.1");
    ip.hdr_checksum = rte_ipv4_cksum(&ip);
    put(f, ip);
    rte_udp_hdr udp{};
    udp.src_port = rte_cpu_to_be_16(flow);
    udp.dst_port = rte_cpu_to_be_16(to_port);
    udp.dgram_len = rte_cpu_to_be_16(sizeof udp + sizeof number);
    put(f, udp);
    put(f, number);
    return f;
}

/// The number in a datagram. It is not aligned there.
std::uint32_t number_in(const std::uint8_t *frame)
{
    std::uint32_t number;
    std::memcpy(&number, frame + 42, sizeof number);
    return number;
}

sockaddr_in address(const char *host, std::uint16_t number)
{
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(number);
    to.sin_addr.s_addr = inet_addr(host);
    return to;
}

class udp_socket
{
public:
    udp_socket(const std::string &netns, std::uint16_t number)
    {
        const netns_scope inside(netns);
        fd_ = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        const int room = 32 << 20;
        setsockopt(fd_, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
        const sockaddr_in at = address("192.0.2.1", number);
        if (bind(fd_, reinterpret_cast<const sockaddr *>(&at), sizeof at) != 0) {
            throw std::runtime_error("bind");
        }
    }
    ~udp_socket() { close(fd_); }
    udp_socket(const udp_socket &) = delete;
    udp_socket &operator=(const udp_socket &) = delete;

    /// The numbers that have come, by flow.
    std::map<std::uint16_t, std::vector<std::uint32_t>> take() const
    {
        std::map<std::uint16_t, std::vector<std::uint32_t>> came;
        std::uint32_t number;
        sockaddr_in from{};
        socklen_t size = sizeof from;
        while (recvfrom(fd_, &number, sizeof number, 0, reinterpret_cast<sockaddr *>(&from), &size) ==
               static_cast<ssize_t>(sizeof number)) {
            came[ntohs(from.sin_port)].push_back(number);
        }
        return came;
    }
    void send(std::uint32_t number) const
    {
        const sockaddr_in to = address("192.0.2.2", port);
        EXPECT_EQ(sendto(fd_, &number, sizeof number, 0, reinterpret_cast<const sockaddr *>(&to), sizeof to),
                  static_cast<ssize_t>(sizeof number));
    }

private:
    int fd_ = -1;
};

class slow_path_threads_test : public slow_path_test
{
protected:
    slow_path_threads_test() { punt_as_ = PUNT_OTHER; }

    static slow_path_options unlimited()
    {
        slow_path_options options;
        options.limits[PUNT_OTHER] =
            options.limits[PUNT_ARP_ND] = {.packets_per_second = PUNT_RATE_MAX, .burst = PUNT_BURST_MAX};
        return options;
    }
    rte_mbuf *packet(const frame &f)
    {
        rte_mbuf *m = rte_pktmbuf_alloc(pool_);
        std::memcpy(rte_pktmbuf_append(m, static_cast<std::uint16_t>(f.size())), f.data(), f.size());
        return m;
    }
    /// The thread that a frame goes to.
    unsigned thread_of(const frame &f)
    {
        rte_mbuf *m = packet(f);
        std::uint32_t hash;
        flow_hash_burst(&m, 1, &hash);
        rte_pktmbuf_free(m);
        return static_cast<unsigned>(std::uint64_t{hash} * threads() >> 32);
    }
    /// A flow for each thread.
    std::vector<std::uint16_t> flow_for_each()
    {
        std::vector<std::uint16_t> flows(threads());
        for (std::uint16_t flow = first_flow; std::ranges::count(flows, 0) != 0; ++flow) {
            std::uint16_t &mine = flows[thread_of(datagram(wire_.mac, flow, 0))];
            mine = mine == 0 ? flow : mine;
        }
        return flows;
    }
    void configure(const std::string &name = "lan0")
    {
        netns_.ip("addr replace 192.0.2.1/24 dev " + name);
        netns_.ip("link set " + name + " up");
        netns_.ip("neigh replace 192.0.2.2 lladdr 02:bb:00:00:00:01 dev " + name + " nud permanent");
    }
    /// Numbers that were sent by the port, by flow, which is the source port here.
    void take_sent(std::map<std::uint16_t, std::vector<std::uint32_t>> &sent)
    {
        for (const frame &f : wire_.take_sent()) {
            if (is_ipv4(f, IPPROTO_UDP) && at<rte_udp_hdr>(f, 34).dst_port == rte_cpu_to_be_16(port)) {
                sent[rte_be_to_cpu_16(at<rte_udp_hdr>(f, 34).src_port)].push_back(number_in(f.data()));
            }
        }
    }
    /// Fails unless every thread carries packets in both directions. The kernel may drop what it sends in the moment
    /// after the carrier has come.
    void expect_all_work(shadow &s)
    {
        for (const std::uint16_t flow : flow_for_each()) {
            const unsigned thread = thread_of(datagram(wire_.mac, flow, 0));
            const std::uint64_t before = s.queues[thread].to_kernel.load();
            wire_.inject(pool_, datagram(wire_.mac, flow, 0));
            EXPECT_TRUE(eventually([&] { return s.queues[thread].to_kernel.load() == before + 1; })) << thread;
        }
        for (unsigned thread = 0; thread < threads(); ++thread) {
            const std::uint64_t before = s.queues[thread].from_kernel.load();
            unsigned flows = 0;
            EXPECT_TRUE(eventually([&] {
                udp_socket(netns_.name(), static_cast<std::uint16_t>(first_flow + flows++ % first_flow)).send(0);
                return s.queues[thread].from_kernel.load() > before;
            })) << thread;
        }
        wire_.forget_sent();
    }
    /// Waits until so many packets were written to the shadow, or could not be written.
    bool carried(const shadow &s, std::uint64_t packets)
    {
        return eventually([&] { return s.counts().to_kernel + s.counts().to_kernel_drops >= packets; });
    }
};

INSTANTIATE_TEST_SUITE_P(, slow_path_threads_test, testing::Values(2U, 4U));

TEST_P(slow_path_threads_test, flows_to_the_kernel_keep_their_order)
{
    shadow &s = add_lan0(unlimited());
    const udp_socket listener(netns_.name(), port);
    constexpr unsigned flows = 40, packets = 250, window = 512;
    rt_->call_on(0, [&](softnet_data &) {
        rte_mbuf *burst[flows];
        for (std::uint32_t number = 0; number < packets; ++number) {
            for (std::uint16_t flow = 0; flow < flows; ++flow) {
                burst[flow] = packet(datagram(wire_.mac, static_cast<std::uint16_t>(first_flow + flow), number));
            }
            ASSERT_EQ(slow_->punt(core_->cpu(0), *dev_, PUNT_OTHER, burst, flows).queued, flows);
            slow_->punt_flush(core_->cpu(0));
            ASSERT_TRUE(carried(s, std::max(window, (number + 1) * flows) - window));
        }
    });
    ASSERT_TRUE(eventually([&] { return s.counts().to_kernel == flows * packets; }));
    std::vector<std::uint32_t> in_order(packets);
    std::iota(in_order.begin(), in_order.end(), 0U);
    const auto came = listener.take();
    EXPECT_EQ(came.size(), flows);
    for (const auto &[flow, numbers] : came) {
        EXPECT_EQ(numbers, in_order) << flow;
    }
    std::vector<unsigned> expected(threads());
    for (std::uint16_t flow = first_flow; flow < first_flow + flows; ++flow) {
        expected[thread_of(datagram(wire_.mac, flow, 0))] += packets;
    }
    for (unsigned thread = 0; thread < threads(); ++thread) {
        EXPECT_EQ(s.queues[thread].to_kernel.load(), expected[thread]);
    }
    EXPECT_EQ(slow_->punted(PUNT_OTHER), flows * packets);
}

TEST_P(slow_path_threads_test, flows_from_the_kernel_keep_their_order)
{
    shadow &s = add_lan0(unlimited());
    configure();
    constexpr unsigned flows = 32, packets = 400, at_once = 8;
    std::vector<std::unique_ptr<udp_socket>> sockets;
    for (std::uint16_t flow = 0; flow < flows; ++flow) {
        sockets.push_back(std::make_unique<udp_socket>(netns_.name(), static_cast<std::uint16_t>(first_flow + flow)));
    }
    std::map<std::uint16_t, std::vector<std::uint32_t>> came;
    const auto arrived = [&] {
        take_sent(came);
        return std::accumulate(came.begin(), came.end(), std::size_t{0},
                               [](std::size_t sum, const auto &flow) { return sum + flow.second.size(); });
    };
    for (std::uint32_t number = 0; number < packets; number += at_once) {
        for (std::uint32_t i = number; i < number + at_once; ++i) {
            std::ranges::for_each(sockets, [&](const auto &each) { each->send(i); });
            // An answer, by which the kernel alone would choose another queue.
            const auto flow = static_cast<std::uint16_t>(first_flow + i % flows);
            wire_.inject(pool_, datagram(wire_.mac, port, 0, 0, flow));
        }
        ASSERT_TRUE(eventually([&] { return arrived() == (number + at_once) * flows; }));
    }
    std::vector<std::uint32_t> in_order(packets);
    std::iota(in_order.begin(), in_order.end(), 0U);
    EXPECT_EQ(came.size(), flows);
    for (const auto &[flow, numbers] : came) {
        EXPECT_EQ(numbers, in_order) << flow;
    }
    EXPECT_GT(std::ranges::count_if(s.queues, [](const auto &queue) { return queue.from_kernel.load() > 100; }), 1)
        << "the kernel spreads flows over the queues";
    EXPECT_GE(s.counts().from_kernel, flows * packets);
}

// As no_wakeup_is_lost, with a packet for each thread in each step.
TEST_P(slow_path_threads_test, no_wakeup_of_any_thread_is_lost)
{
    shadow &s = add_lan0(unlimited());
    std::vector<frame> frames;
    for (const std::uint16_t flow : flow_for_each()) {
        frames.push_back(datagram(peer_mac, flow, 0)); // to another host: the kernel does not answer
    }
    std::uint64_t lost_at = 0;
    rt_->call_on(0, [&](softnet_data &) {
        const auto publish = [&] {
            std::vector<rte_mbuf *> pkts;
            std::ranges::transform(frames, std::back_inserter(pkts), [&](const frame &f) { return packet(f); });
            slow_->punt(core_->cpu(0), *dev_, PUNT_OTHER, pkts.data(), static_cast<unsigned>(pkts.size()));
            slow_->punt_flush(core_->cpu(0));
        };
        for (std::uint64_t i = 1; i <= 3'000 && lost_at == 0; ++i) {
            publish();
            for (const ktime_t end = ktime_get() + static_cast<ktime_t>(i * 7919 % 40'000); ktime_get() < end;) {
            }
            publish();
            lost_at = carried(s, 2 * i * threads()) ? 0 : i;
        }
    });
    EXPECT_EQ(lost_at, 0U);
}

TEST_P(slow_path_threads_test, the_limit_of_a_class_is_that_of_the_cpu)
{
    slow_path_options options;
    options.limits[PUNT_OTHER] = {.packets_per_second = 0, .burst = 10};
    start_slow_path(options);
    slow_->add_shadow(*dev_, "lan0");
    for (std::uint16_t flow = 0; flow < 64; ++flow) {
        wire_.inject(pool_, datagram(wire_.mac, static_cast<std::uint16_t>(first_flow + flow), 0));
    }
    EXPECT_TRUE(eventually([&] { return slow_->punted(PUNT_OTHER) + slow_->policed(PUNT_OTHER) == 64; }));
    EXPECT_EQ(slow_->punted(PUNT_OTHER), 10U);
}

// What a full ring refuses is dropped and counted, and the flows of the other threads pass.
TEST_P(slow_path_threads_test, a_full_ring_is_that_of_one_thread)
{
    start_slow_path();
    shadow &s = slow_->add_shadow(*dev_, "lan0");
    const std::vector<std::uint16_t> flows = flow_for_each();
    rt_->call_on(0, [&](softnet_data &) {
        const known_sources nobody;
        punt_gate gate(nobody, unlimited().limits, threads(), 8, 0);
        std::vector<rte_mbuf *> pkts;
        for (std::uint32_t number = 0; number < 100; ++number) { // more than are hashed at once
            pkts.push_back(packet(datagram(wire_.mac, flows.back(), number)));
        }
        pkts.push_back(packet(datagram(wire_.mac, flows.front(), 100)));
        const punt_result result =
            gate.punt(core_->cpu(0), s, PUNT_OTHER, pkts.data(), static_cast<unsigned>(pkts.size()), 0);
        EXPECT_EQ(result.queued, 7U);
        EXPECT_EQ(result.full, 94U);
        EXPECT_EQ(gate.take_dirty(), 1U | 1U << (threads() - 1));
        EXPECT_FALSE(gate.grant(PUNT_REDIRECT, 0)) << "it might go to the full ring";
        rte_mbuf *out[NET_BURST];
        shadow *to[NET_BURST];
        ASSERT_EQ(gate.ring(0).dequeue(out, to), 1U);
        EXPECT_EQ(number_in(rte_pktmbuf_mtod(out[0], const std::uint8_t *)), 100U);
        rte_pktmbuf_free(out[0]);
        ASSERT_EQ(gate.ring(threads() - 1).dequeue(out, to), 6U);
        for (unsigned i = 0; i < 6; ++i) {
            EXPECT_EQ(number_in(rte_pktmbuf_mtod(out[i], const std::uint8_t *)), i);
        }
        rte_pktmbuf_free_bulk(out, 6);
        EXPECT_TRUE(gate.empty());
    });
    EXPECT_EQ(core_->drops(DROP_PUNT_FULL), 94U);
}

// The first fragment of a routing protocol's packet shows its ports, and the others do not.
TEST_P(slow_path_threads_test, fragments_of_a_packet_go_the_same_way)
{
    start_slow_path();
    shadow &s = slow_->add_shadow(*dev_, "lan0");
    constexpr std::uint16_t more = 0x2000;
    rt_->call_on(0, [&](softnet_data &) {
        const known_sources nobody;
        for (std::uint8_t host = 0; host < 64; ++host) {
            punt_gate gate(nobody, unlimited().limits, threads(), 64, 0);
            const auto ring_of = [&](punt_class c, frame f) {
                f[29] = host; // of the source address
                rte_mbuf *m = packet(f);
                EXPECT_EQ(gate.punt(core_->cpu(0), s, c, &m, 1, 0).queued, 1U);
                return gate.take_dirty();
            };
            const std::uint32_t first = ring_of(PUNT_ROUTING, datagram(wire_.mac, 520, 0, more));
            EXPECT_EQ(ring_of(PUNT_LOCAL, datagram(wire_.mac, 1, 0, more | 3)), first);
            EXPECT_EQ(ring_of(PUNT_LOCAL, datagram(wire_.mac, 2, 0, 6)), first);
            EXPECT_EQ(ring_of(PUNT_ROUTING, datagram(wire_.mac, 520, 0)), 1U) << "thread 0, if it is whole";
            EXPECT_EQ(ring_of(PUNT_ARP_ND, datagram(wire_.mac, 520, 0)), 1U);
            EXPECT_EQ(ring_of(PUNT_OTHER, arp_request("192.0.2.2", "192.0.2.1")), 1U);
        }
    });
}

// Each thread finds by itself that the interface is gone, some of them when there may be the next one.
TEST_P(slow_path_threads_test, a_deleted_interface_is_reported_once_and_made_again_under_traffic)
{
    shadow &s = add_lan0(unlimited());
    unsigned reports = 0;
    slow_->on_deleted = [&](shadow &) { ++reports; };
    for (unsigned round = 1; round <= 20; ++round) {
        configure();
        for (std::uint16_t flow = 0; flow < 64; ++flow) {
            wire_.inject(pool_, datagram(wire_.mac, static_cast<std::uint16_t>(first_flow + flow), 0));
        }
        netns_.ip("link del lan0");
        ASSERT_TRUE(eventually([&] {
            core_->run_control();
            return reports == round;
        }));
        slow_->reopen_shadow(s);
        core_->run_control();
        EXPECT_EQ(reports, round);
        EXPECT_FALSE(s.deleted());
        EXPECT_EQ(s.failure, "");
        configure();
        expect_all_work(s);
    }
    EXPECT_EQ(reports, 20U);
}

TEST_P(slow_path_threads_test, interfaces_are_exchanged_and_given_up_under_traffic)
{
    shadow &s = add_lan0(unlimited());
    configure();
    const udp_socket sender(netns_.name(), port);
    for (unsigned round = 0; round < 20; ++round) {
        for (std::uint16_t flow = 0; flow < 64; ++flow) {
            wire_.inject(pool_, datagram(wire_.mac, static_cast<std::uint16_t>(first_flow + flow), 0));
        }
        if (round % 3 == 2) {
            slow_->release_shadow(s, "given up");
            slow_->check_shadow("lan0");
        } else {
            slow_->exchange_shadow(s, "lan1");
        }
        slow_->exchange_shadow(s, "lan0");
        EXPECT_FALSE(s.created);
        for (std::uint32_t number = 0; number < 10; ++number) {
            sender.send(number);
        }
        expect_all_work(s);
    }
    slow_->destroy_released("lan1");
    EXPECT_EQ(netns_.ip("-o link").find("lan1"), std::string::npos);
}

TEST_P(slow_path_threads_test, removal_under_traffic_loses_no_buffer)
{
    for (int round = 0; round < 20; ++round) {
        if (!slow_) {
            start_slow_path(unlimited());
        }
        shadow &s = slow_->add_shadow(*dev_, "lan0");
        configure();
        const udp_socket sender(netns_.name(), port);
        for (std::uint16_t flow = 0; flow < 200; ++flow) {
            wire_.inject(pool_, datagram(wire_.mac, static_cast<std::uint16_t>(first_flow + flow), 0));
            sender.send(flow);
        }
        if (round % 2) {
            stop_slow_path();
        } else {
            slow_->remove_shadow(s, true);
        }
    }
}

TEST_P(slow_path_threads_test, an_interface_is_adopted_by_any_number_of_threads_but_one)
{
    add_lan0();
    const int index = slow_->shadows().front()->kernel_ifindex;
    stop_slow_path();
    const auto start_with = [&](unsigned count) {
        slow_path_options options;
        options.netns = netns_.name();
        options.threads = count;
        slow_ = std::make_unique<slow_path>(*core_, options);
    };
    start_with(1);
    EXPECT_THAT(refusal([&] { slow_->add_shadow(*dev_, "lan0"); }),
                HasSubstr("made for several slow-path threads, and there is one now, which the kernel cannot change; "
                          "remove it, with its addresses and routes (ip link del lan0), or set slow_path_threads as it "
                          "was"));
    EXPECT_THAT(refusal([&] { slow_->check_shadow("lan0"); }), HasSubstr("made for several"));
    EXPECT_EQ(netns_.exec("cat /sys/class/net/lan0/ifindex"), std::to_string(index) + "\n");
    slow_.reset();
    if (threads() > 2) {
        start_with(threads() - 1);
        const shadow &s = slow_->add_shadow(*dev_, "lan0");
        EXPECT_FALSE(s.created);
        EXPECT_EQ(s.kernel_ifindex, index);
        slow_.reset();
    }
    start_with(threads());
    EXPECT_EQ(slow_->add_shadow(*dev_, "lan0").kernel_ifindex, index);
    slow_.reset();
    netns_.ip("link del lan0");
    start_with(1);
    slow_->add_shadow(*dev_, "lan0");
    slow_.reset();
    start_with(threads());
    EXPECT_THAT(refusal([&] { slow_->add_shadow(*dev_, "lan0"); }),
                HasSubstr("made for one slow-path thread, and there are " + std::to_string(threads()) + " now"));
    EXPECT_THAT(refusal([&] { slow_->check_shadow("lan0"); }), HasSubstr("made for one"));
    slow_->destroy_released("lan0");
    EXPECT_TRUE(slow_->add_shadow(*dev_, "lan0").created);
}

TEST_P(slow_path_threads_test, more_threads_than_net_core_knows_are_refused)
{
    slow_path_options options;
    options.threads = threads() + 1;
    EXPECT_THAT(refusal([&] { slow_path(*core_, options); }), HasSubstr("foreign threads"));
    for (const unsigned count : {0U, SLOW_PATH_THREADS_MAX + 1}) {
        options.threads = count;
        EXPECT_THAT(refusal([&] { slow_path(*core_, options); }), HasSubstr("threads are not possible; 1 to 16 are"));
    }
}

} // namespace
} // namespace halfpoll
