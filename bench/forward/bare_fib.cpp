// SPDX-License-Identifier: BSD-3-Clause
// The yardstick of scenario `forward`: receive, rte_fib, rewrite, send, without any check. It is as plain and as fast
// as possible: the lookup is rte_fib's bulk lookup, and the rewrite one blended 16-byte store.
//   bare_fib EAL-OPTIONS -- ROUTES vector|scalar

#include "route_file.hpp"

#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_fib.h>
#include <rte_ip.h>
#include <rte_launch.h>
#include <rte_lcore.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace
{

constexpr unsigned burst = 32;

[[noreturn]] void fail(const char *what)
{
    std::fprintf(stderr, "bare_fib: %s\n", what);
    std::exit(1);
}

struct alignas(16) link_header {
    std::uint8_t bytes[16];
};
link_header headers[bench_nexthops];
rte_fib *fib;

rte_fib *load_fib(const std::vector<bench_route> &routes, const std::string &lookup)
{
    rte_fib_conf conf{};
    conf.type = RTE_FIB_DIR24_8;
    conf.max_routes = static_cast<int>(routes.size()) + 1;
    conf.rib_ext_sz = 0;
    conf.dir24_8.nh_sz = RTE_FIB_DIR24_8_4B;
    conf.dir24_8.num_tbl8 = 1U << 15;
    rte_fib *table = rte_fib_create("bare", SOCKET_ID_ANY, &conf);
    if (table == nullptr) {
        fail("rte_fib_create");
    }
    for (const bench_route &r : routes) {
        if (rte_fib_add(table, r.addr, static_cast<std::uint8_t>(r.len), r.nexthop) != 0) {
            fail("rte_fib_add");
        }
    }
    const rte_fib_lookup_type type =
        lookup == "vector" ? RTE_FIB_LOOKUP_DIR24_8_VECTOR_AVX512 : RTE_FIB_LOOKUP_DIR24_8_SCALAR_INLINE;
    if (rte_fib_select_lookup(table, type) != 0) {
        fail("rte_fib_select_lookup");
    }
    return table;
}

inline void rewrite(rte_mbuf *m, std::uint64_t nexthop)
{
    std::uint8_t *frame = rte_pktmbuf_mtod(m, std::uint8_t *);
#ifdef __SSE4_1__
    using words = short __attribute__((vector_size(16)));
    words old, fresh;
    std::memcpy(&old, frame, sizeof old);
    std::memcpy(&fresh, &headers[nexthop], sizeof fresh);
    const words out = __builtin_shufflevector(fresh, old, 0, 1, 2, 3, 4, 5, 6, 15);
    std::memcpy(frame, &out, sizeof out);
#else
    std::memcpy(frame, &headers[nexthop], 14);
#endif
    auto *ip = reinterpret_cast<rte_ipv4_hdr *>(frame + RTE_ETHER_HDR_LEN);
    ip->time_to_live--;
    ip->hdr_checksum++; // as l3fwd does it
}

int forward(void *)
{
    for (;;) {
        rte_mbuf *pkts[burst];
        std::uint32_t dst[burst];
        std::uint64_t nexthop[burst];
        const std::uint16_t n = rte_eth_rx_burst(0, 0, pkts, burst);
        for (unsigned i = 0; i < n; i++) {
            dst[i] = rte_be_to_cpu_32(rte_pktmbuf_mtod_offset(pkts[i], rte_ipv4_hdr *, RTE_ETHER_HDR_LEN)->dst_addr);
        }
        rte_fib_lookup_bulk(fib, dst, nexthop, n);
        for (unsigned i = 0; i < n; i++) {
            rewrite(pkts[i], nexthop[i]);
        }
        const std::uint16_t sent = rte_eth_tx_burst(0, 0, pkts, n);
        rte_pktmbuf_free_bulk(pkts + sent, n - sent);
    }
}

void start_port()
{
    rte_eth_conf conf{};
    rte_mempool *pool = rte_pktmbuf_pool_create("rx", 2047, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
    rte_ether_addr mac;
    if (pool == nullptr || rte_eth_dev_configure(0, 1, 1, &conf) != 0 ||
        rte_eth_rx_queue_setup(0, 0, 1024, SOCKET_ID_ANY, nullptr, pool) != 0 ||
        rte_eth_tx_queue_setup(0, 0, 1024, SOCKET_ID_ANY, nullptr) != 0 || rte_eth_macaddr_get(0, &mac) != 0) {
        fail("port 0 cannot be set up");
    }
    for (unsigned i = 0; i < bench_nexthops; i++) {
        std::memcpy(headers[i].bytes, mac.addr_bytes, 6);
        headers[i].bytes[6] = 2;
        headers[i].bytes[11] = static_cast<std::uint8_t>(i);
        headers[i].bytes[12] = 8;
    }
    if (rte_eth_dev_start(0) != 0) {
        fail("port 0 does not start");
    }
}

} // namespace

int main(int argc, char **argv)
{
    const int used = rte_eal_init(argc, argv);
    if (used < 0 || argc - used != 3) {
        fail("usage: bare_fib EAL-OPTIONS -- ROUTES vector|scalar");
    }
    fib = load_fib(read_routes(argv[used + 1]), argv[used + 2]);
    start_port();
    rte_eal_remote_launch(forward, nullptr, rte_get_next_lcore(-1, 1, 0));
    rte_eal_mp_wait_lcore();
    return 0;
}
