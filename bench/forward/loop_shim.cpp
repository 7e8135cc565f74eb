// SPDX-License-Identifier: BSD-3-Clause
/*
 * LD_PRELOAD shim around rte_eth_dev_start(), the same for every program of scenario `forward`. When port 0 runs, the
 * shim puts frames on the port's looped ring by the port's own transmit function. A tx callback then renews each frame
 * on its way round (TTL, checksum and the next destination of a list) and measures the thread that forwards:
 *
 *   cycles per packet = thread CPU time x TSC rate / packets
 *
 * It writes one sample per line to LOOP_RESULT ("CYCLES BURST": cycles per packet, packets per burst) and ends the
 * process. Its settings are in the environment:
 *   LOOP_DESTINATIONS  file of IPv4 addresses (32 bits, host order), used in turn
 *   LOOP_TTL           TTL with which frames leave: 63, or 64 from a program that does not route
 *   LOOP_RESULT        file for the samples
 *   LOOP_WINDOWS       number of samples; one more is written first, which the reader discards
 *   LOOP_PACKETS       packets per sample
 */
#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_ip.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>
#include <rte_udp.h>

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace
{

constexpr unsigned frame_count = 992; // whole bursts of 32 that a ring of 1024 holds
constexpr unsigned frame_len = 60;
constexpr unsigned initial_ttl = 64;

/// The parts of a frame that change from turn to turn: bytes 22-25 (TTL, protocol, checksum) and 30-33 (destination).
struct renewal {
    uint32_t ttl_word;
    uint32_t dst;
};

struct {
    renewal *list;
    uint64_t list_len, next;
    uint64_t packets, bursts, window_packets, window_end, bursts_start;
    int64_t cpu_start;
    unsigned windows, done;
    int ttl, result_fd;
} loop; // used by the forwarding thread only, once the port runs

[[noreturn]] void fail(const char *what)
{
    fprintf(stderr, "loop_shim: %s: %s\n", what, strerror(errno));
    _exit(2);
}

const char *setting(const char *name)
{
    const char *value = getenv(name);
    if (value == nullptr) {
        fprintf(stderr, "loop_shim: %s is not set\n", name);
        _exit(2);
    }
    return value;
}

int64_t thread_cpu_ns(void)
{
    timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

/// Ends the process with status 3 unless the frames that leave have been routed. Called once per window.
void check_frames(rte_mbuf **pkts, uint16_t n)
{
    for (uint16_t i = 0; i < n; i++) {
        const rte_ipv4_hdr *ip = rte_pktmbuf_mtod_offset(pkts[i], rte_ipv4_hdr *, RTE_ETHER_HDR_LEN);
        const uint16_t sum = rte_raw_cksum(ip, sizeof *ip);
        if (ip->time_to_live != loop.ttl || sum != 0xFFFF || pkts[i]->pkt_len != frame_len) {
            fprintf(stderr, "loop_shim: frame leaves with TTL %u, length %u, checksum %s\n", ip->time_to_live,
                    pkts[i]->pkt_len, sum == 0xFFFF ? "right" : "wrong");
            _exit(3);
        }
    }
}

void sample(void)
{
    const int64_t now = thread_cpu_ns();
    if (loop.window_end != 0) {
        const double cycles = (double)(now - loop.cpu_start) * (double)rte_get_tsc_hz() / 1e9;
        const double burst = (double)loop.window_packets / (double)(loop.bursts - loop.bursts_start);
        dprintf(loop.result_fd, "%.4f %.2f\n", cycles / (double)loop.window_packets, burst);
        if (++loop.done > loop.windows) {
            _exit(0);
        }
    }
    loop.cpu_start = now;
    loop.bursts_start = loop.bursts;
    loop.window_end = loop.packets + loop.window_packets;
}

uint16_t renew(uint16_t, uint16_t, rte_mbuf **pkts, uint16_t n, void *)
{
    if (unlikely(loop.packets >= loop.window_end)) {
        check_frames(pkts, n);
        sample();
    }
    loop.packets += n;
    loop.bursts++;
    if (unlikely(loop.next + n > loop.list_len)) {
        loop.next = 0;
    }
    const renewal *r = loop.list + loop.next;
    loop.next += n;
    for (uint16_t i = 0; i < n; i++) {
        uint8_t *frame = rte_pktmbuf_mtod(pkts[i], uint8_t *);
        memcpy(frame + 22, &r[i].ttl_word, 4);
        memcpy(frame + 30, &r[i].dst, 4);
    }
    return n;
}

void make_frame(rte_mbuf *m, const rte_ether_addr *mac)
{
    uint8_t *frame = reinterpret_cast<uint8_t *>(rte_pktmbuf_append(m, frame_len));
    memset(frame, 0, frame_len);
    rte_ether_hdr *eth = reinterpret_cast<rte_ether_hdr *>(frame);
    eth->dst_addr = *mac;
    eth->src_addr.addr_bytes[0] = 2;
    eth->ether_type = RTE_BE16(RTE_ETHER_TYPE_IPV4);
    rte_ipv4_hdr *ip = reinterpret_cast<rte_ipv4_hdr *>(eth + 1);
    ip->version_ihl = 0x45;
    ip->total_length = RTE_BE16(frame_len - RTE_ETHER_HDR_LEN);
    ip->time_to_live = initial_ttl;
    ip->next_proto_id = IPPROTO_UDP;
    ip->src_addr = RTE_BE32(RTE_IPV4(192, 0, 2, 1));
    rte_udp_hdr *udp = reinterpret_cast<rte_udp_hdr *>(ip + 1);
    udp->src_port = udp->dst_port = RTE_BE16(9);
    udp->dgram_len = RTE_BE16(frame_len - RTE_ETHER_HDR_LEN - sizeof *ip);
}

/// Loads the destinations, and computes the header checksum for each in advance.
void load_destinations(const uint8_t *frame)
{
    const int fd = open(setting("LOOP_DESTINATIONS"), O_RDONLY);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        fail("LOOP_DESTINATIONS");
    }
    const auto size = static_cast<size_t>(st.st_size);
    void *const mapped = mmap(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    const auto *addrs = static_cast<const uint32_t *>(mapped);
    loop.list_len = size / sizeof *addrs;
    loop.list = static_cast<renewal *>(rte_malloc("renewals", loop.list_len * sizeof *loop.list, 64));
    if (mapped == MAP_FAILED || loop.list == nullptr) {
        fail("memory for destinations");
    }
    rte_ipv4_hdr ip;
    memcpy(&ip, frame + RTE_ETHER_HDR_LEN, sizeof ip);
    for (uint64_t i = 0; i < loop.list_len; i++) {
        ip.dst_addr = rte_cpu_to_be_32(addrs[i]);
        ip.hdr_checksum = 0;
        ip.hdr_checksum = rte_ipv4_cksum(&ip);
        memcpy(&loop.list[i].ttl_word, &ip.time_to_live, 4);
        loop.list[i].dst = ip.dst_addr;
    }
    munmap(mapped, size);
    close(fd);
}

void fill(uint16_t port)
{
    rte_ether_addr mac;
    rte_mbuf *frames[frame_count];
    rte_mempool *pool = rte_pktmbuf_pool_create("loop_frames", 2047, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
    if (pool == nullptr || rte_eth_macaddr_get(port, &mac) != 0 ||
        rte_pktmbuf_alloc_bulk(pool, frames, frame_count) != 0) {
        fail("frames");
    }
    for (unsigned i = 0; i < frame_count; i++) {
        make_frame(frames[i], &mac);
    }
    load_destinations(rte_pktmbuf_mtod(frames[0], uint8_t *));
    loop.windows = (unsigned)atoi(setting("LOOP_WINDOWS"));
    loop.window_packets = strtoull(setting("LOOP_PACKETS"), nullptr, 10);
    loop.ttl = atoi(setting("LOOP_TTL"));
    loop.result_fd = open(setting("LOOP_RESULT"), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (loop.result_fd < 0) {
        fail("LOOP_RESULT");
    }
    for (unsigned i = 0; i < frame_count; i += 32) {
        loop.window_end = UINT64_MAX; // this round is not measured
        renew(port, 0, frames + i, 32, nullptr);
        if (rte_eth_tx_burst(port, 0, frames + i, 32) != 32) {
            fail("the ring does not take the frames");
        }
    }
    loop.bursts = loop.packets = loop.window_end = 0;
    if (rte_eth_add_tx_callback(port, 0, renew, nullptr) == nullptr) {
        fail("tx callback");
    }
}

} // namespace

int rte_eth_dev_start(uint16_t port)
{
    const auto start = reinterpret_cast<int (*)(uint16_t)>(dlsym(RTLD_NEXT, "rte_eth_dev_start"));
    if (start == nullptr) {
        fail("rte_eth_dev_start");
    }
    const int result = start(port);
    if (result == 0 && port == 0 && loop.list == nullptr) {
        fill(port);
    }
    return result;
}
