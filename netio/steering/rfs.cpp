// SPDX-License-Identifier: BSD-3-Clause
#include "netio/xmit/handover.hpp"
#include "netio/xmit/xmit.hpp"
#include "rps_internal.hpp"

#include <halfpoll/stat_add.hpp>

#include <bit>

namespace halfpoll
{
namespace
{

/// The CPU that a packet's flow should use: the one where it is consumed (`known`), else one from the map.
struct rfs_choice {
    unsigned cpu;
    bool known;
};
rfs_choice choose(const rps_tables &tables, const rps_sock_flow_table *sock_flow, std::uint32_t hash) noexcept
{
    if (sock_flow) {
        const std::uint32_t entry = sock_flow->entries[hash & sock_flow->mask].load(std::memory_order_relaxed);
        const std::uint32_t cpu = entry & sock_flow->cpu_mask;
        const bool known = ((entry ^ hash) & ~sock_flow->cpu_mask) == 0;
        if (known && cpu < tables.online.size() && tables.online[cpu]) {
            return {cpu, true};
        }
    }
    return {tables.map[(hash * std::uint64_t{tables.map.size() - 1}) >> 32], false};
}

/// Whether a flow has packets on the way to its present CPU, from there to the owner of a tx queue, or kept there or by
/// an owner because a tx ring is full.
bool flow_in_flight(const net_cpu &cpu, const rps_dev_flow &flow) noexcept
{
    const bool here = flow.cpu == cpu.rps->here;
    if (here && flow.last_qtail != RPS_HERE_USED) {
        return flow.last_qtail == RPS_HERE_IN_BURST;
    }
    // At the end of the poll, backlogs are published before the packets that this CPU has sent are flushed.
    if (here ? cpu.xmit.flush_count != 0 : rps_in_flight(cpu, flow.cpu, flow.last_qtail, NET_BURST)) {
        return true;
    }
    const net_core &core = *cpu.core;
    bool waits = handover_waits(core, here ? cpu.id : flow.cpu);
    for (unsigned owner = 0; owner < core.cpus(); ++owner) {
        waits = waits || xmit_keeps(core.cpu(owner));
    }
    return waits;
}

/// Moves a flow to another CPU if it has no packet in flight. True: it has moved.
bool move_flow(const net_cpu &cpu, rps_queue &rps, rps_dev_flow &flow, unsigned wanted) noexcept
{
    if (flow_in_flight(cpu, flow)) {
        stat_add(rps.put_off);
        return false;
    }
    if (flow.cpu != cpu.rps->here) {
        stat_add(rps.moved);
    }
    flow.cpu = static_cast<std::uint16_t>(wanted);
    return true;
}

} // namespace

rps_sock_flow_table::rps_sock_flow_table(unsigned n, unsigned cpus)
    : mask(n - 1), cpu_mask(std::bit_ceil(cpus) - 1), entries(new std::atomic<std::uint32_t>[n])
{
}

void rps_sock_flow_table::clear() noexcept
{
    for (std::uint32_t i = 0; i <= mask; ++i) {
        entries[i].store(~i, std::memory_order_relaxed); // no hash with that index has these high bits
    }
}

void rfs_stage(net_cpu &cpu, rps_queue &rps, rte_mbuf **pkts, const std::uint32_t *hash, unsigned n,
               rps_dev_flow **used) noexcept
{
    rps_cpu &to = *cpu.rps;
    const rps_tables &tables = rps.now;
    const std::size_t no_flow = rps.now.flows.size() - 1;
    const std::uint32_t flow_mask = tables.flow_mask();
    const rps_sock_flow_table *sock_flow = cpu.core->rps().sock_flow.load(std::memory_order_acquire);
    for (unsigned i = 0; i < n; ++i) {
        rps_dev_flow &flow = rps.now.flows[hash[i] != 0 ? hash[i] & flow_mask : no_flow];
        const rfs_choice wanted = hash[i] != 0 ? choose(tables, sock_flow, hash[i]) : rfs_choice{to.here, false};
        if (wanted.cpu != flow.cpu && move_flow(cpu, rps, flow, wanted.cpu) && wanted.known && rps.arfs) {
            arfs_request_flow(rps, pkts[i], hash[i], wanted.cpu);
        }
        if (to.stage(flow.cpu, pkts[i])) {
            to.mark[flow.cpu] = flow.cpu != to.here ? backlog_tail(cpu, flow.cpu) + NET_BURST : RPS_HERE_IN_BURST;
        }
        flow.last_qtail = to.mark[flow.cpu]; // so that the flow does not move within the burst
        used[i] = &flow;
    }
}

void rps_record_sock_flow(net_core &core, std::uint32_t hash, unsigned cpu) noexcept
{
    const rps_sock_flow_table *table = core.rps().sock_flow.load(std::memory_order_acquire);
    if (!table || hash == 0 || cpu >= core.cpus()) {
        return;
    }
    std::atomic<std::uint32_t> &entry = table->entries[hash & table->mask];
    const std::uint32_t value = (hash & ~table->cpu_mask) | cpu;
    if (entry.load(std::memory_order_relaxed) != value) {
        entry.store(value, std::memory_order_relaxed);
    }
}

} // namespace halfpoll
