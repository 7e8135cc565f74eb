// SPDX-License-Identifier: BSD-3-Clause
// AF_XDP ports on veth pairs in a nameless network namespace of this process, which goes away with the process, however
// it ends.
#include "no_threads.hpp"
#include "pool_for_tsan.hpp"
#include "refusal.hpp"

#include <halfpoll/af_xdp.hpp>
#include <halfpoll/eal.hpp>
#include <halfpoll/ktime.hpp>
#include <halfpoll/net_core.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

#include <algorithm>
#include <arpa/inet.h>
#include <atomic>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <linux/bpf.h>
#include <linux/if_packet.h>
#include <mutex>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

using namespace halfpoll;
using halfpoll::test::refusal;
using testing::HasSubstr;

namespace
{

void run(const std::string &command) { ASSERT_EQ(std::system(command.c_str()), 0) << command; }

/// Calls `done` until it returns true or `limit` has passed.
template <typename F>
bool wait_until(F done, ktime_t limit = 5 * NSEC_PER_SEC)
{
    const ktime_t deadline = ktime_get() + limit;
    while (!done()) {
        if (ktime_get() > deadline) {
            return false;
        }
        std::this_thread::yield();
    }
    return true;
}

std::string read_line(const std::string &path)
{
    std::string line;
    std::getline(std::ifstream(path) >> std::ws, line);
    return line;
}

/// Number of file descriptors and mappings of this process.
std::size_t open_files()
{
    std::ifstream maps("/proc/self/maps");
    const auto rings = std::count_if(std::istream_iterator<std::string>(maps), {},
                                     [](const std::string &word) { return word.starts_with("socket:"); });
    std::filesystem::directory_iterator fds("/proc/self/fd");
    return static_cast<std::size_t>(std::distance(begin(fds), end(fds)) + rings);
}

/// A packet socket on an interface: the kernel's end of the cable.
class packet_peer
{
public:
    explicit packet_peer(const char *ifname, bool bypass_qdisc = false)
        : fd_(socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(ETH_P_ALL)))
    {
        sockaddr_ll address{};
        address.sll_family = AF_PACKET;
        address.sll_protocol = htons(ETH_P_ALL);
        address.sll_ifindex = static_cast<int>(if_nametoindex(ifname));
        const int bytes = 64 << 20;
        EXPECT_EQ(setsockopt(fd_, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes), 0);
        EXPECT_EQ(setsockopt(fd_, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes), 0);
        const int bypass = bypass_qdisc;
        EXPECT_EQ(setsockopt(fd_, SOL_PACKET, PACKET_QDISC_BYPASS, &bypass, sizeof bypass), 0);
        EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr *>(&address), sizeof address), 0);
    }
    ~packet_peer() { ::close(fd_); }
    bool send(const std::vector<std::uint8_t> &frame) const
    {
        return ::send(fd_, frame.data(), frame.size(), 0) == static_cast<ssize_t>(frame.size());
    }
    /// The next frame that came in (frames that this end sends do not count); empty if none waits.
    std::vector<std::uint8_t> receive() const
    {
        std::vector<std::uint8_t> frame(4096);
        for (;;) {
            sockaddr_ll from{};
            socklen_t length = sizeof from;
            const ssize_t n =
                recvfrom(fd_, frame.data(), frame.size(), 0, reinterpret_cast<sockaddr *>(&from), &length);
            if (n < 0) {
                return {};
            }
            if (from.sll_pkttype != PACKET_OUTGOING) {
                frame.resize(static_cast<std::size_t>(n));
                return frame;
            }
        }
    }

private:
    int fd_;
};

/// Makes a frame of a private EtherType with a sequence number.
std::vector<std::uint8_t> numbered(std::uint32_t number, std::size_t size = 60)
{
    std::vector<std::uint8_t> frame(size, static_cast<std::uint8_t>(number));
    std::memset(frame.data(), 0xff, 6);
    std::memset(frame.data() + 6, 0x02, 6);
    frame[12] = 0x88;
    frame[13] = 0xb5;
    std::memcpy(frame.data() + 14, &number, sizeof number);
    return frame;
}

std::uint32_t number_of(const std::uint8_t *frame)
{
    std::uint32_t number;
    std::memcpy(&number, frame + 14, sizeof number);
    return number;
}

class af_xdp : public testing::Test
{
protected:
    static void SetUpTestSuite()
    {
        ASSERT_EQ(unshare(CLONE_NEWNET), 0) << "needs CAP_SYS_ADMIN";
        pool = packet_pool_create("af_xdp_test", 8191, 2048 + RTE_PKTMBUF_HEADROOM);
    }
    static void TearDownTestSuite() { packet_pool_free(pool); }
    void SetUp() override { make_pair(""); }
    void TearDown() override
    {
        device.reset();
        std::system("ip link del va 2>/dev/null");
        EXPECT_EQ(rte_mempool_avail_count(pool), pool->size) << "buffers were lost";
    }
    static void make_pair(const std::string &queues)
    {
        run("ip link add va " + queues + " type veth peer name vb " + queues);
        // With IPv6, the kernel would send packets of its own.
        run("echo 1 > /proc/sys/net/ipv6/conf/vb/disable_ipv6 && ip link set vb up");
    }
    void open(unsigned rx_queues = 1, unsigned tx_queues = 1)
    {
        device = make_af_xdp_port("va", [this](const std::string &line) { warnings += line + '\n'; });
        device->open(options(rx_queues, tx_queues));
    }
    static port_options options(unsigned rx_queues = 1, unsigned tx_queues = 1)
    {
        port_options o;
        o.rx_queues = rx_queues;
        o.tx_queues = tx_queues;
        o.pool = pool;
        return o;
    }
    /// Sends received packets back and returns their number.
    unsigned echo(std::uint16_t queue = 0)
    {
        rte_mbuf *pkts[32];
        const std::uint16_t n = device->rx_burst(queue, pkts, 32);
        const std::uint16_t sent = device->tx_burst(queue, pkts, n);
        rte_pktmbuf_free_bulk(pkts + sent, n - sent);
        device->tx_doorbell(queue);
        return n;
    }
    bool send(rte_mbuf *m)
    {
        if (device->tx_burst(0, &m, 1) != 1) {
            rte_pktmbuf_free(m);
            return false;
        }
        return device->tx_doorbell(0);
    }
    rte_mbuf *frame(rte_mempool *from, std::uint32_t number, std::uint16_t size = 60)
    {
        rte_mbuf *m = rte_pktmbuf_alloc(from);
        std::memcpy(rte_pktmbuf_append(m, size), numbered(number, size).data(), size);
        return m;
    }

    static inline rte_mempool *pool = nullptr;
    std::unique_ptr<port> device;
    std::string warnings;
};

TEST_F(af_xdp, echoes_in_order_without_loss)
{
    open();
    const packet_peer peer("vb");
    constexpr std::uint32_t count = 10'000, window = 128;
    std::uint32_t sent = 0, received = 0;
    ASSERT_TRUE(wait_until(
        [&] {
            while (sent < count && sent - received < window && peer.send(numbered(sent, 60 + sent % 1440))) {
                sent++;
            }
            echo();
            for (auto f = peer.receive(); !f.empty(); f = peer.receive()) {
                EXPECT_EQ(number_of(f.data()), received);
                EXPECT_EQ(f, numbered(received, 60 + received % 1440));
                received++;
            }
            return received == count || HasFailure();
        },
        30 * NSEC_PER_SEC))
        << received << " of " << count;
    const port_counters c = device->counters();
    EXPECT_EQ(c.rx_packets, count);
    EXPECT_EQ(c.tx_packets, count);
    EXPECT_EQ(c.rx_bytes, c.tx_bytes);
    EXPECT_EQ(c.rx_missed + c.rx_errors + c.rx_nombuf + c.tx_errors, 0U);
}

TEST_F(af_xdp, received_mbufs_are_clean)
{
    open();
    const packet_peer peer("vb");
    ASSERT_TRUE(peer.send(numbered(7, 1514)));
    rte_mbuf *m = nullptr;
    ASSERT_TRUE(wait_until([&] { return device->rx_burst(0, &m, 1) == 1; }));
    const char *reason = nullptr;
    EXPECT_EQ(rte_mbuf_check(m, 1, &reason), 0) << reason;
    EXPECT_EQ(m->pool, pool);
    EXPECT_EQ(m->pkt_len, 1514U);
    EXPECT_EQ(m->data_len, 1514U);
    EXPECT_EQ(m->ol_flags, 0U);
    EXPECT_GE(rte_pktmbuf_headroom(m), RTE_PKTMBUF_HEADROOM);
    EXPECT_EQ(std::memcmp(rte_pktmbuf_mtod(m, void *), numbered(7, 1514).data(), 1514), 0);
    rte_pktmbuf_free(m);
}

TEST_F(af_xdp, buffers_come_back_at_close_from_every_place)
{
    open();
    const packet_peer peer("vb");
    for (std::uint32_t i = 0; i < 500; i++) { // they stay in the rx ring
        ASSERT_TRUE(peer.send(numbered(i)));
    }
    ASSERT_TRUE(wait_until([&] { return device->rx_pending(0); }));
    rte_mbuf *m = frame(pool, 1);
    ASSERT_EQ(device->tx_burst(0, &m, 1), 1); // stays in the tx ring: no doorbell
    device->close();
    EXPECT_EQ(rte_mempool_avail_count(pool), pool->size);
}

TEST_F(af_xdp, an_empty_pool_is_counted_and_survived)
{
    open();
    const packet_peer peer("vb");
    std::vector<rte_mbuf *> taken(rte_mempool_avail_count(pool));
    ASSERT_EQ(rte_pktmbuf_alloc_bulk(pool, taken.data(), static_cast<unsigned>(taken.size())), 0);
    std::vector<rte_mbuf *> kept;
    for (std::uint32_t i = 0; i < 1200; i++) { // more than the rings hold; each received one is kept
        ASSERT_TRUE(peer.send(numbered(i)));
        rte_mbuf *m = nullptr;
        if (device->rx_burst(0, &m, 1) == 1) {
            kept.push_back(m);
        }
    }
    EXPECT_TRUE(device->rx_starved(0));
    EXPECT_EQ(device->counters().rx_nombuf, kept.size()) << "each buffer that was missing counts once";
    EXPECT_GT(device->counters().rx_missed, 0U);
    rte_pktmbuf_free_bulk(taken.data(), 3);
    taken.erase(taken.begin(), taken.begin() + 3);
    rte_mbuf *none = nullptr;
    EXPECT_EQ(device->rx_burst(0, &none, 1), 0);
    EXPECT_EQ(rte_mempool_avail_count(pool), 0U) << "what little there is must be taken";
    EXPECT_EQ(device->counters().rx_nombuf, kept.size());
    rte_pktmbuf_free_bulk(taken.data(), static_cast<unsigned>(taken.size()));
    rte_pktmbuf_free_bulk(kept.data(), static_cast<unsigned>(kept.size()));
    rte_mbuf *m = nullptr;
    while (device->rx_burst(0, &m, 1) == 1) {
        rte_pktmbuf_free(m);
    }
    ASSERT_TRUE(peer.send(numbered(77)));
    ASSERT_TRUE(wait_until([&] { return device->rx_burst(0, &m, 1) == 1; })) << "does not receive again";
    EXPECT_EQ(number_of(rte_pktmbuf_mtod(m, std::uint8_t *)), 77U);
    rte_pktmbuf_free(m);
}

TEST_F(af_xdp, sends_what_it_cannot_lend_as_a_copy)
{
    open();
    const packet_peer peer("vb");
    rte_mempool *foreign = packet_pool_create("af_xdp_foreign", 63, 2048 + RTE_PKTMBUF_HEADROOM, 0);
    rte_mbuf *shared = frame(pool, 1);
    rte_mbuf_refcnt_update(shared, 1);
    rte_mbuf *segmented = frame(pool, 2);
    ASSERT_EQ(rte_pktmbuf_chain(segmented, frame(foreign, 3)), 0);

    EXPECT_TRUE(send(frame(foreign, 0)));
    EXPECT_TRUE(send(shared));
    EXPECT_TRUE(send(segmented));
    std::vector<std::vector<std::uint8_t>> got;
    ASSERT_TRUE(wait_until([&] {
        if (auto f = peer.receive(); !f.empty()) {
            got.push_back(f);
        }
        return got.size() == 3;
    }));
    auto chained = numbered(2);
    const auto tail = numbered(3);
    chained.insert(chained.end(), tail.begin(), tail.end());
    EXPECT_THAT(got, testing::ElementsAre(numbered(0), numbered(1), chained));
    EXPECT_EQ(rte_mbuf_refcnt_read(shared), 1);
    rte_pktmbuf_free(shared);
    EXPECT_EQ(rte_mempool_avail_count(foreign), foreign->size);

    send(frame(pool, 4, 2000)); // longer than a received frame can be
    EXPECT_EQ(device->counters().tx_errors, 1U);
    packet_pool_free(foreign);
}

TEST_F(af_xdp, one_doorbell_sends_a_large_batch)
{
    open();
    const packet_peer peer("vb");
    std::vector<rte_mbuf *> batch;
    for (std::uint32_t i = 0; i < 200; i++) {
        batch.push_back(frame(pool, i));
    }
    ASSERT_EQ(device->tx_burst(0, batch.data(), 200), 200);
    // A driver that sends 32 packets per call asks to be called again; no packet may be lost.
    ASSERT_TRUE(wait_until([&] { return device->tx_doorbell(0); }));
    std::uint32_t next = 0;
    ASSERT_TRUE(wait_until([&] {
        for (auto f = peer.receive(); !f.empty(); f = peer.receive()) {
            EXPECT_EQ(number_of(f.data()), next++);
        }
        return next == 200;
    }));
}

/// A UDP socket at the peer's end sends with the checksum left to the hardware. The answer carries the completed
/// checksum, which must pass the check of the peer's kernel.
void udp_round_trip(port &device, int family, const char *local, const char *remote)
{
    const int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    sockaddr_storage from{}, to{};
    from.ss_family = to.ss_family = static_cast<sa_family_t>(family);
    const bool v4 = family == AF_INET;
    auto fill = [v4](sockaddr_storage &address, const char *text) {
        auto *v4_address = reinterpret_cast<sockaddr_in *>(&address);
        auto *v6_address = reinterpret_cast<sockaddr_in6 *>(&address);
        v4_address->sin_port = htons(9000); // the port is at the same offset in both
        return inet_pton(v4 ? AF_INET : AF_INET6, text,
                         v4 ? static_cast<void *>(&v4_address->sin_addr) : &v6_address->sin6_addr);
    };
    ASSERT_EQ(fill(from, local), 1);
    ASSERT_EQ(fill(to, remote), 1);
    ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr *>(&from), v4 ? sizeof(sockaddr_in) : sizeof(sockaddr_in6)), 0)
        << std::strerror(errno);
    for (std::size_t size : {0UL, 1UL, 100UL, 1399UL}) {
        const std::string payload(size, 'x');
        ASSERT_EQ(sendto(fd, payload.data(), size, 0, reinterpret_cast<sockaddr *>(&to),
                         v4 ? sizeof(sockaddr_in) : sizeof(sockaddr_in6)),
                  static_cast<ssize_t>(size))
            << std::strerror(errno);
        char buffer[2048];
        ssize_t got = -1;
        EXPECT_TRUE(wait_until([&] {
            rte_mbuf *m = nullptr;
            if (device.rx_burst(0, &m, 1) == 1) {
                auto *p = rte_pktmbuf_mtod(m, std::uint8_t *);
                std::swap_ranges(p, p + 6, p + 6);
                std::uint8_t *addresses = p + 14 + (v4 ? 12 : 8);
                std::swap_ranges(addresses, addresses + (v4 ? 4 : 16), addresses + (v4 ? 4 : 16));
                if (device.tx_burst(0, &m, 1) == 1) {
                    device.tx_doorbell(0);
                }
            }
            got = recv(fd, buffer, sizeof buffer, 0);
            return got >= 0;
        })) << "the answer of "
            << size << " bytes was lost: its checksum is wrong";
        EXPECT_EQ(got, static_cast<ssize_t>(size));
    }
    ::close(fd);
}

TEST_F(af_xdp, completes_partial_checksums)
{
    run("echo 0 > /proc/sys/net/ipv6/conf/vb/disable_ipv6");
    run("ip addr add 192.0.2.1/24 dev vb && ip addr add 2001:db8::1/64 dev vb nodad");
    run("ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev vb && ip neigh add 2001:db8::2 lladdr 02:00:00:00:00:02 "
        "dev "
        "vb");
    open();
    udp_round_trip(*device, AF_INET, "192.0.2.1", "192.0.2.2");
    udp_round_trip(*device, AF_INET6, "2001:db8::1", "2001:db8::2");
}

/// Tags all frames that leave by an interface, with the tag as metadata of the frame, as a VLAN interface does, until
/// the returned fd is closed.
int tag_egress(const char *ifname, int vlan)
{
    constexpr auto tcx_egress = static_cast<bpf_attach_type>(47); // BPF_TCX_EGRESS, kernel >= 6.6
    const bpf_insn code[] = {
        {BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_2, 0, 0, htons(ETH_P_8021Q)},
        {BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_3, 0, 0, vlan},
        {BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_skb_vlan_push},
        {BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 0},
        {BPF_JMP | BPF_EXIT, 0, 0, 0, 0},
    };
    LIBBPF_OPTS(bpf_prog_load_opts, options, .expected_attach_type = tcx_egress);
    const int prog = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "tag", "BSD", code, std::size(code), &options);
    const int link = bpf_link_create(prog, static_cast<int>(if_nametoindex(ifname)), tcx_egress, nullptr);
    ::close(prog);
    return link;
}

TEST_F(af_xdp, keeps_vlan_tags_that_the_kernel_holds_beside_the_frame)
{
    open();
    const int tagger = tag_egress("vb", 42);
    ASSERT_GE(tagger, 0) << std::strerror(-tagger);
    const packet_peer peer("vb");
    ASSERT_TRUE(peer.send(numbered(5)));
    rte_mbuf *m = nullptr;
    ASSERT_TRUE(wait_until([&] { return device->rx_burst(0, &m, 1) == 1; }));
    auto tagged = numbered(5);
    const std::uint8_t tag[] = {0x81, 0x00, 0x00, 42};
    tagged.insert(tagged.begin() + 12, std::begin(tag), std::end(tag));
    const auto *p = rte_pktmbuf_mtod(m, const std::uint8_t *);
    EXPECT_EQ(std::vector<std::uint8_t>(p, p + m->data_len), tagged);
    rte_pktmbuf_free(m);
    ::close(tagger);
}

TEST_F(af_xdp, a_packet_makes_the_fd_readable)
{
    open();
    const packet_peer peer("vb");
    const rx_wait wait = device->wait_of(0);
    EXPECT_EQ(wait.kind, source_kind::oneshot);
    pollfd p{wait.fd, POLLIN, 0};
    rte_mbuf *m = nullptr;
    ASSERT_TRUE(wait_until([&] { // drains the frames that the pair sent when it came up
        while (device->rx_burst(0, &m, 1) == 1) {
            rte_pktmbuf_free(m);
        }
        return poll(&p, 1, 20) == 0;
    }));
    EXPECT_FALSE(device->rx_pending(0));
    EXPECT_EQ(device->rx_irq_enable(0), 0);
    std::thread sender([&] { peer.send(numbered(1)); });
    EXPECT_EQ(poll(&p, 1, 5000), 1);
    sender.join();
    EXPECT_TRUE(device->rx_pending(0));
    EXPECT_EQ(device->rx_irq_disable(0), 0);
    ASSERT_EQ(device->rx_burst(0, &m, 1), 1);
    EXPECT_FALSE(device->rx_pending(0));
    EXPECT_EQ(poll(&p, 1, 0), 0);
    rte_pktmbuf_free(m);
}

TEST_F(af_xdp, serves_every_queue_of_the_interface)
{
    run("ip link del va");
    make_pair("numrxqueues 2 numtxqueues 2");
    for (unsigned queues : {2U, 1U}) { // 1: one rx queue serves both sockets, which remain two tx queues
        open(queues, 2);
        EXPECT_EQ(device->info().max_rx_queues, 2U);
        const packet_peer peer("vb", true);
        // A frame from a packet socket that bypasses the qdisc takes the queue of the CPU that sends it.
        cpu_set_t before, one;
        sched_getaffinity(0, sizeof before, &before);
        unsigned received = 0;
        for (int cpu = 0; cpu < 2; cpu++) {
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
            for (std::uint32_t i = 0; i < 50; i++) {
                ASSERT_TRUE(peer.send(numbered(i)));
            }
        }
        sched_setaffinity(0, sizeof before, &before);
        std::vector<unsigned> by_queue(queues);
        EXPECT_TRUE(wait_until([&] {
            for (std::uint16_t q = 0; q < queues; q++) {
                pollfd p{device->wait_of(q).fd, POLLIN, 0};
                EXPECT_EQ(device->rx_pending(q), poll(&p, 1, 0) == 1);
                const unsigned n = echo(q);
                by_queue[q] += n;
                received += n;
            }
            return received >= 100;
        })) << received;
        for (unsigned n : by_queue) {
            EXPECT_GT(n, 0U);
        }
        for (std::uint16_t q = 0; q < 2; q++) {
            rte_mbuf *m = frame(pool, 1000U + q);
            ASSERT_EQ(device->tx_burst(q, &m, 1), 1);
            EXPECT_TRUE(device->tx_doorbell(q));
        }
        std::vector<std::uint32_t> numbers;
        EXPECT_TRUE(wait_until([&] {
            for (auto f = peer.receive(); !f.empty(); f = peer.receive()) {
                numbers.push_back(number_of(f.data()));
            }
            return numbers.size() >= 102;
        }));
        EXPECT_THAT(numbers, testing::IsSupersetOf({1000U, 1001U}));
        device.reset();
    }
}

/// Sends `count` frames on each of two queues: a frame from a packet socket that bypasses the qdisc leaves by the queue
/// of the CPU that sends it.
void send_on_two_queues(const packet_peer &peer, std::uint32_t count)
{
    cpu_set_t before, one;
    ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
    for (int cpu = 0; cpu < 2; cpu++) {
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
        for (std::uint32_t i = 0; i < count; i++) {
            ASSERT_TRUE(peer.send(numbered(i)));
        }
    }
    sched_setaffinity(0, sizeof before, &before);
}

/// Removes the socket of a queue from the XSKMAP of the XDP program on an interface.
void take_socket_out(const char *ifname, std::uint32_t queue)
{
    std::uint32_t id = 0, maps[8] = {};
    ASSERT_EQ(bpf_xdp_query_id(static_cast<int>(if_nametoindex(ifname)), 0, &id), 0);
    bpf_prog_info program{};
    program.map_ids = reinterpret_cast<std::uintptr_t>(maps);
    program.nr_map_ids = std::size(maps);
    std::uint32_t length = sizeof program;
    const int fd = bpf_prog_get_fd_by_id(id);
    ASSERT_EQ(bpf_obj_get_info_by_fd(fd, &program, &length), 0);
    ::close(fd);
    unsigned taken = 0;
    for (std::uint32_t i = 0; i < program.nr_map_ids; i++) {
        const int map = bpf_map_get_fd_by_id(maps[i]);
        bpf_map_info info{};
        length = sizeof info;
        ASSERT_EQ(bpf_obj_get_info_by_fd(map, &info, &length), 0);
        taken += info.type == BPF_MAP_TYPE_XSKMAP && bpf_map_delete_elem(map, &queue) == 0;
        ::close(map);
    }
    ASSERT_EQ(taken, 1U);
}

TEST_F(af_xdp, frames_of_a_queue_without_a_socket_are_dropped_and_counted)
{
    run("ip link del va");
    make_pair("numrxqueues 2 numtxqueues 2");
    open();
    take_socket_out("va", 1);
    const packet_peer peer("vb", true), kernel("va");
    send_on_two_queues(peer, 50);
    unsigned received = 0;
    EXPECT_TRUE(wait_until([&] {
        received += echo();
        return received == 50 && device->counters().rx_nohandler == 50;
    })) << received
        << ", " << device->counters().rx_nohandler;
    EXPECT_TRUE(kernel.receive().empty()) << "the kernel's stack has got a frame";
    device->close();
    device->open(options());
    EXPECT_EQ(device->counters().rx_nohandler, 50U) << "the count went with the sockets";
}

TEST_F(af_xdp, reports_another_number_of_queues_once)
{
    run("ip link del va");
    make_pair("numrxqueues 2 numtxqueues 2");
    run("ethtool -L va rx 1 tx 1 && ethtool -L vb rx 1 tx 1");
    open();
    std::atomic<unsigned> links{0}, queues{0};
    const auto count = [&](port_event e) {
        links += e == port_event::link;
        queues += e == port_event::queues;
    };
    device->set_event_handler(count);
    ASSERT_TRUE(wait_until([&] { return links > 0; }));
    run("ethtool -K vb gro off && ethtool -K vb gro on"); // a message about something else
    EXPECT_EQ(queues, 0U);
    run("ethtool -L va rx 2 tx 2");
    EXPECT_TRUE(wait_until([&] { return queues > 0; }));
    run("ip link set vb down && ip link set vb up");
    ASSERT_TRUE(wait_until([&] { return links > 2; }));
    EXPECT_EQ(queues, 1U);
    device->set_event_handler(nullptr);
    device->set_event_handler(count); // a handler that is set later gets the event, too
    EXPECT_TRUE(wait_until([&] { return queues == 2; }));
}

TEST_F(af_xdp, reports_link_changes)
{
    open();
    std::atomic<unsigned> links{0};
    device->set_event_handler([&](port_event e) { links += e == port_event::link; });
    ASSERT_TRUE(wait_until([&] { return device->link().up && links > 0; }));
    const unsigned before = links;
    run("ip link set vb down");
    EXPECT_TRUE(wait_until([&] { return links > before; }));
    EXPECT_FALSE(device->link().up);
    run("ip link set vb up");
    EXPECT_TRUE(wait_until([&] { return links > before + 1 && device->link().up; }));
}

TEST_F(af_xdp, survives_the_interface)
{
    open();
    std::atomic<bool> removed{false};
    device->set_event_handler([&](port_event e) { removed = removed || e == port_event::removed; });
    run("ip link del va");
    EXPECT_TRUE(wait_until([&] { return removed.load(); }));
    EXPECT_FALSE(device->link().up);
    EXPECT_EQ(echo(), 0U);
    send(frame(pool, 1));
    device->counters();
    EXPECT_THAT(refusal([&] { device->set_mtu(1400); }), HasSubstr("af_xdp:va"));
}

TEST_F(af_xdp, can_be_opened_again_at_once)
{
    const packet_peer peer("vb");
    const std::size_t before = open_files();
    for (int i = 0; i < 5; i++) {
        open();
        EXPECT_GE(open_files(), before + 4 + 4) << "four rings and as many files are expected";
        ASSERT_TRUE(peer.send(numbered(1)));
        ASSERT_TRUE(wait_until([&] { return echo() > 0; }));
        device->close();
        ASSERT_EQ(rte_mempool_avail_count(pool), pool->size);
        device.reset();
        EXPECT_EQ(open_files(), before);
    }
}

TEST_F(af_xdp, leaves_the_interface_as_it_found_it)
{
    run("ip link set va mtu 1400");
    open();
    EXPECT_EQ(read_line("/proc/sys/net/ipv6/conf/va/disable_ipv6"), "1");
    EXPECT_EQ(std::system("ip link show va | grep -q 'mtu 1500'"), 0);
    EXPECT_EQ(std::system("ip link show va | grep -q xdp"), 0);
    device->close();
    EXPECT_EQ(read_line("/proc/sys/net/ipv6/conf/va/disable_ipv6"), "0");
    EXPECT_EQ(std::system("ip link show va | grep -q 'mtu 1400'"), 0);
    EXPECT_NE(std::system("ip link show va | grep -q xdp"), 0);
    EXPECT_NE(std::system("ip link show va | grep -q UP"), 0);
    EXPECT_EQ(std::system("ethtool -k vb | grep -q 'tx-vlan-offload: on'"), 0);
}

TEST_F(af_xdp, follows_the_interface_to_another_name)
{
    open();
    run("ip link set va down && ip link set va name vz && ip link set vz up && ip link add va type veth peer name vy");
    run("echo 1 > /proc/sys/net/ipv6/conf/va/disable_ipv6");
    device->close();
    EXPECT_EQ(read_line("/proc/sys/net/ipv6/conf/vz/disable_ipv6"), "0");
    EXPECT_EQ(read_line("/proc/sys/net/ipv6/conf/va/disable_ipv6"), "1") << "its namesake is left alone";
    run("ip link del va");
    device->open(options());
    const packet_peer peer("vb");
    ASSERT_TRUE(peer.send(numbered(1)));
    EXPECT_TRUE(wait_until([&] { return echo() > 0; }));
    device.reset();
    run("ip link del vz");
}

TEST_F(af_xdp, promiscuous_mode_that_was_refused_is_not_taken_for_set)
{
    open();
    run("ip link del va");
    const std::size_t before = open_files();
    for (int i = 0; i < 2; ++i) {
        EXPECT_THAT(refusal([&] { device->set_promiscuous(true); }),
                    HasSubstr("cannot make the interface promiscuous"));
    }
    EXPECT_EQ(open_files(), before);
}

TEST_F(af_xdp, is_promiscuous_as_long_as_one_reason_is_left)
{
    const auto promiscuous = [] { return std::system("ip -d link show va | grep -q 'promiscuity 1'") == 0; };
    open();
    const rte_ether_addr own = device->info().mac, other{{2, 0, 0, 0, 0, 9}};
    EXPECT_FALSE(promiscuous());
    device->set_mac(other);
    device->set_promiscuous(true);
    device->set_promiscuous(false);
    EXPECT_TRUE(promiscuous()) << "the interface filters for its own address";
    device->set_promiscuous(true);
    device->set_mac(own);
    EXPECT_TRUE(promiscuous());
    device->set_promiscuous(false);
    EXPECT_FALSE(promiscuous());
}

TEST_F(af_xdp, a_watcher_whose_thread_cannot_start_leaves_nothing)
{
    open();
    const std::size_t before = open_files();
    sigset_t mask, blocked;
    {
        const test::no_threads meanwhile;
        EXPECT_THAT(refusal([&] { device->set_event_handler([](port_event) {}); }),
                    HasSubstr("af_xdp:va: watching the link: cannot start its thread"));
    }
    EXPECT_EQ(open_files(), before);
    sigfillset(&blocked);
    pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    EXPECT_NE(std::memcmp(&mask, &blocked, sizeof mask), 0) << "all signals are blocked";
}

/// A port under the runtime, used as the forwarder uses it: packets that come in on one port leave by the other.
class af_xdp_net_core : public af_xdp
{
protected:
    void SetUp() override
    {
        make_pair("");
        run("ip link add vc type veth peer name vd && echo 1 > /proc/sys/net/ipv6/conf/vd/disable_ipv6 && "
            "ip link set vd up");
        core = std::make_unique<net_core>(rt, pool);
        core->set_rx_handler(
            [](void *ctx, net_cpu &cpu, net_device &in, rte_mbuf **pkts, unsigned n) noexcept {
                auto *self = static_cast<af_xdp_net_core *>(ctx);
                dev_queue_xmit(cpu, &in == self->left ? *self->right : *self->left, pkts, n);
            },
            this);
        right = &add("vc");
        left = &add("va");
        ASSERT_TRUE(wait_until([&] {
            core->run_control();
            return left->running && right->running;
        }));
    }
    void TearDown() override
    {
        core.reset();
        std::system("ip link del vc");
        af_xdp::TearDown();
    }
    net_device &add(const std::string &name)
    {
        net_device_options o;
        o.name = name;
        return core->register_netdevice(make_af_xdp_port(name), o);
    }

    runtime rt{runtime_options{}};
    std::unique_ptr<net_core> core;
    net_device *left = nullptr;
    net_device *right = nullptr;
};

TEST_F(af_xdp_net_core, forwards_bursts_and_wakes_from_idle)
{
    const packet_peer from("vb"), to("vd");
    std::uint32_t sent = 0, received = 0;
    for (unsigned burst : {1U, 1U, 100U, 1U, 200U, 1U}) {
        // The queue sleeps: only the interrupt can wake it.
        const napi_struct &napi = left->queues[0]->napi;
        ASSERT_TRUE(wait_until([&] { return !(napi.state & NAPIF_STATE_SCHED); }));
        for (unsigned i = 0; i < burst; i++) {
            ASSERT_TRUE(from.send(numbered(sent++)));
        }
        ASSERT_TRUE(wait_until([&] {
            for (auto f = to.receive(); !f.empty(); f = to.receive()) {
                EXPECT_EQ(number_of(f.data()), received++);
            }
            return received == sent;
        })) << received;
    }
    EXPECT_GT(left->queues[0]->napi.stats.interrupts, 0U);
}

TEST_F(af_xdp_net_core, an_interface_that_vanishes_takes_down_its_port_only)
{
    run("ip link del va");
    ASSERT_TRUE(wait_until([&] {
        core->run_control();
        return !left->failure.empty();
    }));
    EXPECT_TRUE(right->failure.empty());
    const packet_peer peer("vd"); // its packets leave by the port that is gone
    const std::uint64_t before = core->drops(DROP_DEV_READY);
    ASSERT_TRUE(peer.send(numbered(1)));
    EXPECT_TRUE(wait_until([&] { return core->drops(DROP_DEV_READY) == before + 1; }));
}

/// A port whose packets are kept, so that its pool becomes empty.
class af_xdp_hoard : public af_xdp
{
protected:
    void SetUp() override
    {
        make_pair("");
        const test::pool_for_tsan seen(pool);
        core = std::make_unique<net_core>(rt, pool);
        core->set_rx_handler(
            [](void *ctx, net_cpu &, net_device &, rte_mbuf **pkts, unsigned n) noexcept {
                auto *self = static_cast<af_xdp_hoard *>(ctx);
                const std::lock_guard guard(self->mutex);
                self->kept.insert(self->kept.end(), pkts, pkts + n);
            },
            this);
        add();
    }
    void add()
    {
        net_device_options o;
        o.name = "va";
        dev = &core->register_netdevice(make_af_xdp_port("va"), o);
        ASSERT_TRUE(wait_until([&] {
            core->run_control();
            return dev->running.load();
        }));
    }
    void TearDown() override
    {
        core.reset();
        free_all();
        af_xdp::TearDown();
    }
    std::size_t count()
    {
        const std::lock_guard guard(mutex);
        return kept.size();
    }
    void take_the_rest()
    {
        const std::lock_guard guard(mutex);
        for (rte_mbuf *m = rte_pktmbuf_alloc(pool); m; m = rte_pktmbuf_alloc(pool)) {
            kept.push_back(m);
        }
    }
    void free_all()
    {
        const std::lock_guard guard(mutex);
        for (rte_mbuf *m : kept) {
            rte_pktmbuf_free(m);
        }
        kept.clear();
    }
    bool asleep() const { return !(dev->queues[0]->napi.state & NAPIF_STATE_SCHED); }

    runtime rt{runtime_options{}};
    std::unique_ptr<net_core> core;
    net_device *dev = nullptr;
    std::mutex mutex;
    std::vector<rte_mbuf *> kept; ///< protected by `mutex`
};

TEST_F(af_xdp_hoard, receives_again_when_an_exhausted_pool_has_buffers)
{
    // No park timer rescues it.
    rt.call_on(0, [&](softnet_data &) { dev->queues[0]->napi.park_time = 3600 * NSEC_PER_SEC; });
    const packet_peer peer("vb");
    for (int round = 0; round < 2; ++round) {
        take_the_rest();
        for (std::uint32_t i = 0; i < 3000; i++) {
            ASSERT_TRUE(peer.send(numbered(i)));
        }
        ASSERT_TRUE(wait_until( // a busy veth loses some frames
            [&] {
                peer.send(numbered(0));
                return count() == pool->size && asleep();
            },
            30 * NSEC_PER_SEC))
            << count();
        free_all();
        EXPECT_TRUE(wait_until([&] {
            peer.send(numbered(77));
            return count() > 0;
        })) << "round "
            << round;
        EXPECT_EQ(dev->queues[0]->napi.rung, wait_rung::interrupt) << dev->queues[0]->napi.rung_reason.load();
    }
}

TEST_F(af_xdp_hoard, serves_queues_that_the_interface_gets_while_it_runs)
{
    core->unregister_netdevice(*dev);
    run("ip link del va");
    make_pair("numrxqueues 2 numtxqueues 2");
    run("ethtool -L va rx 1 tx 1 && ethtool -L vb rx 1 tx 1");
    std::string told;
    core->on_reopen = [&](net_device &, const std::string &why) { told += why; };
    add();
    run("ethtool -L va rx 2 tx 2");
    ASSERT_TRUE(wait_until([&] {
        core->run_control();
        return !told.empty();
    }));
    EXPECT_EQ(told, "its device has 2 rx queues now");
    EXPECT_TRUE(dev->running);
    run("ethtool -L vb rx 2 tx 2");
    const packet_peer peer("vb", true);
    send_on_two_queues(peer, 50);
    EXPECT_TRUE(wait_until([&] { return count() == 100; })) << count();
    EXPECT_EQ(dev->driver->counters().rx_nohandler, 0U);

    // Fewer queues: the kernel keeps queues that have sockets; if it does not, the port is reopened.
    std::system("ethtool -L vb rx 1 tx 1; ethtool -L va rx 1 tx 1");
    EXPECT_TRUE(wait_until([&] {
        core->run_control();
        return peer.send(numbered(1)) && count() > 100;
    }));
    EXPECT_EQ(dev->failure, "");
}

// Runs in a process of its own: a_killed_owner_leaves_nothing_behind starts it.
TEST(af_xdp_holder, DISABLED_holds_the_interface)
{
    rte_mempool *pool = packet_pool_create("af_xdp_holder", 4095, 2048 + RTE_PKTMBUF_HEADROOM);
    auto device = make_af_xdp_port("va");
    port_options o;
    o.pool = pool;
    device->open(o);
    ASSERT_EQ(write(STDOUT_FILENO, "open\n", 5), 5);
    pause();
}

TEST_F(af_xdp, a_killed_owner_leaves_nothing_behind)
{
    int out[2];
    ASSERT_EQ(pipe(out), 0);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        dup2(out[1], STDOUT_FILENO);
        execl("/proc/self/exe", "holder", "--gtest_also_run_disabled_tests", "--gtest_filter=af_xdp_holder.*", nullptr);
        _exit(127);
    }
    ::close(out[1]);
    std::string said;
    char buffer[256];
    while (said.find("open\n") == std::string::npos) {
        const ssize_t n = read(out[0], buffer, sizeof buffer);
        ASSERT_GT(n, 0) << said;
        said.append(buffer, static_cast<std::size_t>(n));
    }
    const std::size_t before = open_files();
    EXPECT_THAT(refusal([&] { open(); }), HasSubstr("another AF_XDP socket is bound"));
    device.reset();
    EXPECT_EQ(open_files(), before);

    // The owner is killed while open() retries.
    std::thread killer([child] {
        std::this_thread::sleep_for(std::chrono::milliseconds(200));
        kill(child, SIGKILL);
        waitpid(child, nullptr, 0);
    });
    const std::string failure = refusal([&] { open(); });
    killer.join();
    ::close(out[0]);
    ASSERT_EQ(failure, "");
    const packet_peer peer("vb");
    ASSERT_TRUE(peer.send(numbered(1)));
    EXPECT_TRUE(wait_until([&] { return echo() > 0; }));
}

/// Whatever the descriptor is for that is missing.
TEST_F(af_xdp, names_the_limit_of_open_files)
{
    run("ip link del va");
    make_pair("numrxqueues 2 numtxqueues 2");
    rlimit before;
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    unsigned refused = 0;
    std::string problem = "not opened yet";
    for (rlim_t limit = 3; !problem.empty(); ++limit) {
        const rlimit few{.rlim_cur = limit, .rlim_max = before.rlim_max};
        setrlimit(RLIMIT_NOFILE, &few);
        problem = refusal([&] {
            device = make_af_xdp_port("va");
            device->open(options(1, 2)); // one rx queue waits for two sockets
            device->set_event_handler([](port_event) {});
        });
        setrlimit(RLIMIT_NOFILE, &before);
        if (!problem.empty()) {
            EXPECT_THAT(problem, HasSubstr("Too many open files (raise the limit of open files: ulimit -n")) << limit;
            ++refused;
        }
    }
    EXPECT_GT(refused, 5U);
}

/// A frame of 60 bytes with an IPv4 packet of UDP.
std::vector<std::uint8_t> datagram(std::uint16_t port)
{
    std::vector<std::uint8_t> frame(60);
    const std::uint8_t headers[] = {2, 0, 0, 0, 0,  2,  2, 0, 0,  0, 0, 1, 8,  0, 0x45, 0, 0, 46,
                                    0, 0, 0, 0, 64, 17, 0, 0, 10, 9, 0, 1, 10, 9, 0,    2, 1, 0};
    std::copy(std::begin(headers), std::end(headers), frame.begin());
    frame[36] = static_cast<std::uint8_t>(port >> 8);
    frame[37] = static_cast<std::uint8_t>(port);
    return frame;
}

class af_xdp_pass : public af_xdp
{
protected:
    void SetUp() override
    {
        af_xdp::SetUp();
        add_shadow();
        open();
        wanted.shadow = static_cast<int>(if_nametoindex("sa"));
        wanted.ip4 = true;
        if (!device->set_pass(wanted)) {
            GTEST_SKIP() << "no tcx (Linux 6.6)";
        }
    }
    void TearDown() override
    {
        af_xdp::TearDown();
        std::system("ip link del sa 2>/dev/null");
    }
    /// It sends nothing of its own accord.
    void add_shadow() const
    {
        run("ip link add sa type veth peer name sb && echo 1 > /proc/sys/net/ipv6/conf/sa/disable_ipv6 && "
            "ip link set sa up && ip link set sb up");
    }
    /// Whether a frame that arrives comes to the runtime; else it has to come to the shadow.
    bool received(const packet_peer &peer, const packet_peer &shadow, const std::vector<std::uint8_t> &sent)
    {
        EXPECT_TRUE(peer.send(sent));
        rte_mbuf *m = nullptr;
        std::vector<std::uint8_t> passed;
        EXPECT_TRUE(wait_until([&] {
            passed = shadow.receive();
            return !passed.empty() || device->rx_burst(0, &m, 1) == 1;
        }));
        EXPECT_TRUE(passed.empty() || passed == sent);
        rte_pktmbuf_free(m);
        return m != nullptr;
    }

    pass_to_kernel wanted;
};

TEST_F(af_xdp_pass, packets_of_a_family_pass_to_the_shadow)
{
    const packet_peer peer("vb"), shadow("sa");
    auto ip6 = datagram(2000);
    ip6[12] = 0x86;
    ip6[13] = 0xDD;
    auto group = datagram(2000), options = datagram(2000), ospf = datagram(2000), fragment = datagram(179);
    group[0] = 1;
    options[14] = 0x46;
    ospf[23] = 89;
    fragment[21] = 1; // its payload is no header
    auto bgp = datagram(179);
    bgp[23] = 6;
    EXPECT_FALSE(received(peer, shadow, datagram(2000)));
    EXPECT_FALSE(received(peer, shadow, datagram(179))) << "a port of TCP";
    EXPECT_FALSE(received(peer, shadow, fragment));
    for (const auto &frame : {numbered(1), ip6, group, options, ospf, bgp, datagram(3784)}) {
        EXPECT_TRUE(received(peer, shadow, frame));
    }
    EXPECT_EQ(device->counters().passed_in, 3U);
    wanted.ip4 = false;
    ASSERT_TRUE(device->set_pass(wanted));
    EXPECT_TRUE(received(peer, shadow, datagram(2000)));
    EXPECT_EQ(device->counters().passed_in, 3U);
}

TEST_F(af_xdp_pass, tcp_to_an_address_of_the_box_passes_to_the_shadow)
{
    const packet_peer peer("vb"), shadow("sa");
    const box_address box4{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 10, 9, 0, 2};
    box_address box6{0xFD, 9};
    box6[15] = 2;
    auto to_box = datagram(2000), elsewhere = datagram(2000), fragment = datagram(2000), bgp = datagram(179);
    to_box[23] = elsewhere[23] = fragment[23] = bgp[23] = 6;
    elsewhere[33] = 3;
    fragment[21] = 1;
    std::vector<std::uint8_t> to_box6(74);
    to_box6[12] = 0x86;
    to_box6[13] = 0xDD;
    to_box6[20] = 6;
    to_box6[0] = to_box6[6] = 2;
    std::copy(box6.begin(), box6.end(), to_box6.begin() + 38);
    auto elsewhere6 = to_box6;
    elsewhere6[40] = 1;

    ASSERT_TRUE(device->set_pass({.tcp_of_box = true, .shadow = wanted.shadow}));
    EXPECT_TRUE(received(peer, shadow, to_box)) << "before the address is known";
    device->pass_address(box4, true);
    device->pass_address(box6, true);
    EXPECT_FALSE(received(peer, shadow, to_box));
    EXPECT_FALSE(received(peer, shadow, to_box6));
    for (const auto &frame : {elsewhere, elsewhere6, fragment, bgp, datagram(2000)}) {
        EXPECT_TRUE(received(peer, shadow, frame));
    }
    ASSERT_TRUE(device->set_pass({.ip6 = true, .tcp_of_box = true, .shadow = wanted.shadow}));
    EXPECT_FALSE(received(peer, shadow, to_box));
    EXPECT_FALSE(received(peer, shadow, elsewhere6));
    EXPECT_TRUE(received(peer, shadow, elsewhere));
    device->pass_address(box4, false);
    EXPECT_TRUE(received(peer, shadow, to_box));
    ASSERT_TRUE(device->set_pass({}));
    EXPECT_TRUE(received(peer, shadow, to_box6));
}

TEST_F(af_xdp_pass, what_the_shadow_sends_leaves_by_the_device)
{
    const packet_peer peer("vb"), shadow("sa"), beyond("sb");
    ASSERT_TRUE(shadow.send(datagram(1)));
    EXPECT_TRUE(wait_until([&] { return !beyond.receive().empty(); })) << "not asked for";
    wanted.out = true;
    ASSERT_TRUE(device->set_pass(wanted));
    ASSERT_TRUE(shadow.send(datagram(2)));
    EXPECT_TRUE(wait_until([&] { return peer.receive() == datagram(2); }));
    EXPECT_TRUE(beyond.receive().empty());
    EXPECT_EQ(device->counters().passed_out, 1U);
    run("ip link del sa");
    add_shadow();
    wanted.shadow = static_cast<int>(if_nametoindex("sa"));
    ASSERT_TRUE(device->set_pass(wanted)) << "another interface";
    const packet_peer next("sa");
    ASSERT_TRUE(next.send(datagram(3)));
    EXPECT_TRUE(wait_until([&] { return peer.receive() == datagram(3); }));
    ASSERT_TRUE(device->set_pass({}));
    ASSERT_TRUE(next.send(datagram(4)));
    const packet_peer last("sb");
    EXPECT_TRUE(next.send(datagram(4)));
    EXPECT_TRUE(wait_until([&] { return !last.receive().empty(); }));
    EXPECT_EQ(device->counters().passed_out, 2U);
}

TEST_F(af_xdp_pass, ends_with_the_port)
{
    const std::size_t before = open_files();
    device->close();
    EXPECT_LT(open_files(), before);
    EXPECT_FALSE(device->set_pass(wanted)) << "a closed port passes nothing";
    device->open(options());
    const packet_peer peer("vb"), shadow("sa");
    EXPECT_TRUE(received(peer, shadow, datagram(2000))) << "without set_pass()";
}

TEST_F(af_xdp, refuses_with_a_remedy)
{
    EXPECT_THAT(refusal([] { make_af_xdp_port("nosuchif"); }), HasSubstr("nosuchif: no such interface"));
    EXPECT_THAT(refusal([] { make_af_xdp_port("../../etc/x"); }), HasSubstr("not an interface name"));
    device = make_af_xdp_port("va");
    port_options o = options();
    o.mtu = 9000;
    EXPECT_THAT(refusal([&] { device->open(o); }), HasSubstr("MTU of 9000 is not possible: 68 to 1898"));
    o = options(3);
    EXPECT_THAT(refusal([&] { device->open(o); }), HasSubstr("it has 1"));
    rte_mempool *small = packet_pool_create("af_xdp_small", 255, 2048 + RTE_PKTMBUF_HEADROOM, 0);
    o = options();
    o.pool = small;
    EXPECT_THAT(refusal([&] { device->open(o); }), HasSubstr("make the pool larger"));
    EXPECT_EQ(rte_mempool_avail_count(small), small->size);
    packet_pool_free(small);
    EXPECT_EQ(read_line("/proc/sys/net/ipv6/conf/va/disable_ipv6"), "0");
    device->open(options());
    EXPECT_THAT(refusal([&] { device->set_mtu(1899); }), HasSubstr("68 to 1898"));
    EXPECT_NO_THROW(device->set_mtu(1898));
}

} // namespace
