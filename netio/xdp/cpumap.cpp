// SPDX-License-Identifier: BSD-3-Clause
//
// The stack of another CPU receives the packet:
//
//   producing CPU                                             target CPU
//   cpu_enqueue() -> staged (8) -> cpu_flush() ---> one ring per producer -> NAPI "cpumap/<cpu>" -> program -> handler
//
// In modes `exclusive` and `nested` the entry's NAPI instance is polled in the NET_RX of the CPU's bottom-half thread,
// like the backlog. In mode `big` it has a thread `cpumap/<cpu>`.
#include "netio/base/net_deliver.hpp"
#include "netio/steering/backlog_ring.hpp"
#include "redirect_map.hpp"
#include "xdp_trace.hpp"

#include <halfpoll/softnet_data.hpp>

#include <rte_branch_prediction.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <utility>

namespace halfpoll
{

/// The way from one CPU to an entry.
struct cpumap_lane {
    cpumap_entry *entry = nullptr;
    backlog_ring_ptr ring;
    cpumap_lane *next = nullptr; ///< next on the flush list
    bool listed = false;
    unsigned bulk = 0; ///< packets staged and not published
};

/// A NAPI instance from which its poll function finds the entry.
struct cpumap_napi : napi_struct {
    cpumap_entry *entry = nullptr;
};

/// An entry of the map. `target`, `qsize` and `prog` never change.
struct cpumap_entry {
    std::uint32_t key;
    net_cpu *target;
    unsigned qsize;
    std::shared_ptr<xdp_program> prog;
    std::vector<cpumap_lane> lanes; ///< by producing CPU
    unsigned next_lane = 0;         ///< lane that is served first in the next poll. Target CPU
    cpumap_napi napi;
    std::atomic<cpumap_entry *> next{nullptr};

    xdp_map_entry shown() const { return {.key = key, .qsize = qsize, .prog = prog}; }
    static bool leads_to(const net_device &) noexcept { return false; }
};

class cpumap final : public redirect_map<cpumap_entry>
{
public:
    cpumap(net_core &core, std::string map_name, unsigned entries)
        : redirect_map(core, std::move(map_name), xdp_map_type::cpumap, entries)
    {
    }
    void update(const xdp_map_entry &entry, std::uint64_t flags) override;
    void clear() noexcept override;

private:
    void retire(std::unique_ptr<cpumap_entry> entry) override;
};

namespace
{

/// Passes packets that came from one device to the entry's program, and then to the handler. On the CPU that serves the
/// target.
void receive(net_cpu &by, const cpumap_entry &entry, net_device &in, rte_mbuf **pkts, unsigned n) noexcept
{
    const unsigned processed = n;
    if (entry.prog) {
        n = xdp_run_further(by, *entry.prog, in, nullptr, pkts, n);
    }
    if (xdp_trace_enabled()) {
        trace_xdp_cpumap_kthread(by.id, processed, n);
    }
    if (n != 0) {
        net_deliver(by, in, pkts, n);
    }
}

unsigned serve(net_cpu &by, const cpumap_entry &entry, backlog_ring &ring, unsigned limit) noexcept
{
    rte_mbuf *pkts[NET_BURST];
    net_device *in;
    unsigned work = 0;
    while (work < limit) {
        const unsigned n = ring.take(in, pkts, std::min(NET_BURST, limit - work));
        if (n == 0) {
            break;
        }
        receive(by, entry, *in, pkts, n);
        work += n;
    }
    return work;
}

/// Serves up to `limit` packets, and flushes what they give rise to; returns how many. On the CPU that serves the
/// target.
unsigned serve_all(cpumap_entry &entry, net_cpu &by, unsigned limit) noexcept
{
    const unsigned lanes = static_cast<unsigned>(entry.lanes.size());
    unsigned work = 0;
    for (unsigned i = 0; i < lanes && work < limit; ++i) {
        work += serve(by, entry, *entry.lanes[(entry.next_lane + i) % lanes].ring, limit - work);
    }
    entry.next_lane = (entry.next_lane + 1) % lanes;
    if (work != 0) {
        net_poll_end(by);
        for (cpumap_lane &lane : entry.lanes) {
            lane.ring->deliver();
        }
    }
    return work;
}

int cpumap_poll(napi_struct &napi, int budget) noexcept
{
    cpumap_entry &entry = *static_cast<cpumap_napi &>(napi).entry;
    net_cpu &by = entry.target->core->cpu(napi.sd->cpu); // the target, or the CPU that serves it while it is offline
    const unsigned limit = static_cast<unsigned>(budget);
    const unsigned work = serve_all(entry, by, limit);
    if (work < limit && napi_complete_done(napi, static_cast<int>(work))) {
        napi_unmask_irq(napi);
    }
    return static_cast<int>(work);
}

/// Serves the packets that are visible now. On the CPU that serves the target, between polls.
void drain(cpumap_entry &entry) noexcept
{
    net_cpu &by = entry.target->core->cpu(this_softnet_data()->cpu);
    std::uint32_t left = 0;
    for (const cpumap_lane &lane : entry.lanes) {
        left += lane.ring->visible();
    }
    serve_all(entry, by, left);
}

/// Frees the packets that are visible now. On the CPU that serves the target, between polls.
void discard(cpumap_entry &entry) noexcept
{
    net_cpu &by = entry.target->core->cpu(this_softnet_data()->cpu);
    for (cpumap_lane &lane : entry.lanes) {
        rte_mbuf *pkts[NET_BURST];
        net_device *in;
        for (std::uint32_t left = lane.ring->visible(), n; left != 0; left -= n) {
            n = lane.ring->take(in, pkts, std::min<std::uint32_t>(NET_BURST, left));
            redirect_drop(by, xdp_error::einval, pkts, n);
        }
        lane.ring->deliver();
    }
}

std::unique_ptr<cpumap_entry> make_entry(net_core &core, const xdp_map_entry &wanted)
{
    auto entry = std::make_unique<cpumap_entry>();
    entry->key = wanted.key;
    entry->target = &core.cpu(wanted.key);
    entry->qsize = wanted.qsize;
    entry->prog = wanted.prog;
    entry->lanes = std::vector<cpumap_lane>(core.cpus());
    for (cpumap_lane &lane : entry->lanes) {
        lane.entry = entry.get();
        // As in backlogs: each packet may come from another device than the packet before it, and then takes two slots.
        lane.ring.reset(backlog_ring::create(*entry->target, std::bit_ceil(2 * (wanted.qsize + 1))));
    }
    cpumap_napi &napi = entry->napi;
    napi.entry = entry.get();
    napi.thread_is_napi = false;
    std::snprintf(napi.name, sizeof napi.name, "cpumap/%u", wanted.key);
    if (core.rt().options().exclusion == exclusion_mode::big) {
        napi.config.threaded = napi_threaded::enabled;
    }
    netif_napi_add(*entry->target->sd, napi, cpumap_poll); // its producers schedule it
    napi_enable(napi);
    return entry;
}

} // namespace

void cpumap::update(const xdp_map_entry &entry, std::uint64_t flags)
{
    xdp_map_check_key(*this, entry.key, entry.key < core_.cpus());
    if (entry.qsize > CPUMAP_MAX_QSIZE) {
        throw error("XDP map " + name + ": at most " + std::to_string(CPUMAP_MAX_QSIZE) +
                    " packets may wait for a CPU, " + "not " + std::to_string(entry.qsize));
    }
    check(entry.key, flags);
    if (entry.qsize == 0) {
        erase(entry.key);
        return;
    }
    std::unique_ptr<cpumap_entry> fresh = make_entry(core_, entry);
    core_.redirect().cpumap_entries.push_back(fresh.get());
    link(std::move(fresh));
}

/// Serves the entry until it is empty, and removes its NAPI instance.
void cpumap::retire(std::unique_ptr<cpumap_entry> entry)
{
    core_.rt().synchronize_rcu(); // no CPU fills it any more
    core_.rt().call_on(entry->target->id, [&](softnet_data &) { drain(*entry); });
    napi_disable(entry->napi);
    netif_napi_del(entry->napi);
    std::erase(core_.redirect().cpumap_entries, entry.get());
}

/// Removes the entries one after the other: packets that the program of one entry redirects to another one still get
/// there.
void cpumap::clear() noexcept
{
    for (const xdp_map_entry &entry : entries()) {
        erase(entry.key);
    }
}

std::shared_ptr<xdp_map> make_cpumap(net_core &core, std::string name, unsigned max_entries)
{
    return std::make_shared<cpumap>(core, std::move(name), max_entries);
}

namespace
{

/// Returns how many of n packets may wait. A CPU that keeps to its share of the queue does not read the lanes of the
/// other CPUs.
unsigned admit(cpumap_entry &entry, const cpumap_lane &own, unsigned n) noexcept
{
    const std::uint32_t share = entry.qsize / static_cast<unsigned>(entry.lanes.size());
    if (likely(own.ring->length(false) + n <= share || own.ring->length(true) + n <= share)) {
        return n;
    }
    std::uint32_t waiting = own.ring->length(false);
    for (const cpumap_lane &lane : entry.lanes) {
        waiting += &lane == &own ? 0 : lane.ring->visible();
    }
    return waiting >= entry.qsize ? 0 : std::min(n, entry.qsize - waiting);
}

void publish(cpumap_lane &lane) noexcept
{
    lane.ring->publish();
    lane.bulk = 0;
}

void cpu_enqueue(cpumap_lane &lane, net_device &in, rte_mbuf **pkts, unsigned n) noexcept
{
    while (n != 0) {
        if (lane.bulk == CPU_MAP_BULK_SIZE) {
            publish(lane); // a target that polls may begin; an idle one is kicked at the end of the poll
        }
        const unsigned k = std::min(n, CPU_MAP_BULK_SIZE - lane.bulk);
        lane.ring->put(in, pkts, k);
        lane.bulk += k;
        pkts += k;
        n -= k;
    }
}

} // namespace

bool cpumap_redirect(const redirect_guard &guard, const redirect_run &run) noexcept
{
    cpumap_entry *entry = static_cast<const cpumap &>(*run.target().map).table().lookup(run.target().key);
    if (unlikely(!entry)) {
        return false;
    }
    cpumap_lane &lane = entry->lanes[run.cpu.id];
    unsigned fit = admit(*entry, lane, run.n);
    const std::uint32_t room = lane.ring->room(fit + 1); // the device takes a slot too
    if (unlikely(room <= fit)) {
        fit = room == 0 ? 0 : room - 1;
    }
    cpu_enqueue(lane, run.in, run.pkts(), fit);
    if (unlikely(fit < run.n)) {
        redirect_error(run, xdp_error::enobufs, run.pkts() + fit, run.n - fit);
    }
    if (xdp_trace_enabled()) {
        trace_xdp_cpumap_enqueue(run.cpu.id, entry->key, fit, run.n - fit);
    }
    if (!lane.listed) {
        lane.listed = true;
        lane.next = std::exchange(guard->cpu_flush_list, &lane);
    }
    return true;
}

void cpu_flush(net_cpu &cpu) noexcept
{
    while (true) {
        cpumap_lane *lane;
        {
            const redirect_guard guard(cpu);
            lane = guard->cpu_flush_list;
            if (!lane) {
                return;
            }
            guard->cpu_flush_list = lane->next;
            lane->listed = false;
            publish(*lane);
        }
        napi_schedule(lane->entry->napi); // outside the guard, because it may wake a thread of this CPU
    }
}

bool cpumap_in_flight(const net_cpu &cpu) noexcept
{
    return std::ranges::any_of(cpu.core->redirect().cpumap_entries, [&](const cpumap_entry *entry) {
        const backlog_ring &ring = *entry->lanes[cpu.id].ring;
        return ring.tail() != ring.head();
    });
}

void cpumap_drain(runtime &rt, const redirect_state &state) noexcept
{
    for (cpumap_entry *entry : state.cpumap_entries) {
        rt.call_on(entry->target->id, [&](softnet_data &) { drain(*entry); });
    }
    for (cpumap_entry *entry : state.cpumap_entries) { // packets that programs have redirected to yet another CPU
        rt.call_on(entry->target->id, [&](softnet_data &) { discard(*entry); });
    }
}

} // namespace halfpoll
