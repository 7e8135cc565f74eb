// SPDX-License-Identifier: BSD-3-Clause
// What test gdb (gdb_test.py) looks at: stop_here() gets objects whose state is known, and gdb stops there.
#include "netio/steering/backlog_ring.hpp"
#include "runtime/softirq/poll_list.hpp"

#include <halfpoll/eal.hpp>
#include <halfpoll/net_core.hpp>
#include <halfpoll/softnet_data.hpp>

#include <rte_mbuf.h>

#include <cstring>
#include <memory>

using namespace halfpoll;

namespace
{

[[gnu::noinline]] int stop_here(const rte_mbuf &mbuf, const napi_struct &napi, const softnet_data &sd,
                                const backlog_ring &ring)
{
    asm volatile("" ::: "memory");
    return mbuf.port + napi.weight + static_cast<int>(sd.cpu) + static_cast<int>(ring.dropped());
}

} // namespace

int main()
{
    eal_init({});
    rte_mbuf mbuf{};
    mbuf.port = 3;
    mbuf.pkt_len = 1514;
    mbuf.data_len = 1024;
    mbuf.nb_segs = 2;
    mbuf.refcnt = 1;
    mbuf.ol_flags =
        RTE_MBUF_F_RX_RSS_HASH | RTE_MBUF_F_RX_VLAN_STRIPPED | RTE_MBUF_F_RX_IP_CKSUM_NONE | RTE_MBUF_F_TX_UDP_CKSUM;

    softnet_data sd;
    sd.cpu = 2;
    sd.softirq_pending = 1U << NET_RX_SOFTIRQ | 1U << HRTIMER_SOFTIRQ;
    napi_struct first, second;
    for (napi_struct *napi : {&first, &second}) {
        std::strcpy(napi->name, napi == &first ? "lan-0" : "wan-1");
        napi->sd = &sd;
        napi->state = NAPIF_STATE_SCHED | NAPIF_STATE_MISSED | NAPIF_STATE_LISTED;
        sd.poll_list.push_back(*napi);
    }
    first.stats.polls = 7;
    first.stats.packets = 300;

    net_cpu target;
    target.id = 5;
    net_device in;
    backlog_ring *const ring = backlog_ring::create(target, 64);
    rte_mbuf *pkts[] = {&mbuf, &mbuf, &mbuf, &mbuf, &mbuf, &mbuf};
    ring->put(in, pkts, 6);
    ring->publish();
    net_device *from;
    ring->take(from, pkts, 1);
    ring->deliver();
    ring->take(from, pkts, 2);
    ring->put(in, pkts, 4);
    ring->count_drops(9);
    return stop_here(mbuf, first, sd, *ring) == 0;
}
