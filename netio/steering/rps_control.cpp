// SPDX-License-Identifier: BSD-3-Clause
//
// Settings of RPS and RFS. The tables that the data path uses are made here. The CPU that uses them exchanges them
// between two polls, so that it needs no lock and frees nothing.
#include "rps_internal.hpp"

#include <halfpoll/softnet_data.hpp>

#include <algorithm>
#include <bit>
#include <functional>
#include <string>
#include <utility>

namespace halfpoll
{
namespace
{

constexpr ktime_t RPS_PATIENCE = NSEC_PER_MSEC; ///< time before a queue pauses for a change

void check_cpus(const std::string &what, const std::vector<unsigned> &list, unsigned cpus)
{
    for (unsigned cpu : list) {
        if (cpu >= cpus) {
            throw error(what + ": found CPU " + std::to_string(cpu) + ", expected runtime CPUs from 0 to " +
                        std::to_string(cpus - 1));
        }
    }
    if (std::adjacent_find(list.begin(), list.end(), std::greater_equal<>()) != list.end()) {
        throw error(what + ": expected CPUs in ascending order, each once");
    }
}

void check_range(const std::string &what, unsigned found, unsigned max)
{
    if (found > max) {
        throw error(what + ": found " + std::to_string(found) + ", expected 0 to " + std::to_string(max));
    }
}

rps_tables make_tables(net_core &core, const rps_config &config)
{
    const auto here = static_cast<std::uint16_t>(core.cpus());
    rps_tables tables;
    tables.online = core.rps().online;
    for (unsigned cpu : config.rps_cpus) {
        if (tables.online[cpu]) {
            tables.map.push_back(static_cast<std::uint16_t>(cpu));
        }
    }
    tables.map.push_back(here);
    if (config.rps_flow_cnt != 0) {
        tables.flows.assign(std::bit_ceil(config.rps_flow_cnt) + std::size_t{1},
                            {here, RPS_NO_FILTER, RPS_HERE_UNUSED});
    }
    return tables;
}

/// Takes the positions of the home CPU's rings, for a queue that is new, or that has moved to another CPU with nothing
/// in flight.
void take_home(rx_queue &q)
{
    rps_queue &rps = *q.steering;
    net_cpu &cpu = *q.cpu;
    if (rps.home == &cpu) {
        return;
    }
    rps.home = &cpu;
    for (unsigned target = 0; target < cpu.rps->here; ++target) {
        // Packets of its own, if there are any, are not put there yet.
        rps.last_tail[target] = backlog_head(cpu, target);
    }
}

/// Runs fn on the queue's home CPU, between polls.
template <typename F>
void at_home(rx_queue &q, F &&fn)
{
    q.cpu->core->rt().call_on(q.cpu->id, [&](softnet_data &sd) { fn(sd); });
}

} // namespace

void rps_check(const rps_config &config, unsigned cpus, const std::string &name)
{
    check_cpus(name + ": rps_cpus", config.rps_cpus, cpus);
    check_range(name + ": rps_flow_cnt", config.rps_flow_cnt, RPS_FLOW_CNT_MAX);
}

void rps_configure(rx_queue &queue, const rps_config &config)
{
    net_core &core = *queue.cpu->core;
    rps_check(config, core.cpus(), queue.napi.name);
    rps_tables tables = make_tables(core, config);
    if (!queue.steering) {
        if (!tables.steers()) {
            queue.rps_settings = config;
            return;
        }
        queue.steering = std::make_shared<rps_queue>();
        queue.steering->last_tail.resize(core.cpus() + 1, RPS_HERE_USED);
        queue.steering->handed.resize(std::size_t{core.cpus()} * core.cpus());
        queue.steering->kept.resize(core.cpus());
        queue.steering->now = make_tables(core, {});
        queue.steering->arfs = make_arfs_ring(queue);
    }
    at_home(queue, [&](softnet_data &sd) {
        rps_queue &rps = *queue.steering;
        take_home(queue);
        std::swap(rps.next, tables);
        rps.changing = true;
        rps.handed_noted = rps.kept_noted = false;
        rps.pause_from = sd.now + RPS_PATIENCE;
        queue.rps = &rps; // its poll checks for the change, if that must wait
        rps_settle(queue);
    });
    queue.rps_settings = config;
}

bool rps_settled(rx_queue &queue)
{
    bool settled = true;
    if (queue.steering) {
        at_home(queue, [&](softnet_data &) { settled = rps_settle(queue); });
    }
    return settled;
}

bool rps_drained(rx_queue &queue)
{
    bool drained = true;
    if (queue.steering) {
        at_home(queue, [&](softnet_data &) { drained = !rps_queue_in_flight(queue); });
    }
    return drained;
}

void rps_set_online(net_core &core, unsigned cpu, bool online)
{
    core.rps().online.at(cpu) = online;
    for (net_device *dev : core.devices()) {
        for (const auto &queue : dev->queues) {
            rps_configure(*queue, rps_config(queue->rps_settings));
        }
    }
}

rps_counters rps_counters_of(const rx_queue &queue) noexcept
{
    const rps_queue *rps = queue.steering.get();
    if (!rps) {
        return {};
    }
    return {.steered = rps->steered.load(std::memory_order_relaxed),
            .direct = rps->direct.load(std::memory_order_relaxed),
            .moved = rps->moved.load(std::memory_order_relaxed),
            .put_off = rps->put_off.load(std::memory_order_relaxed),
            .pauses = rps->pauses.load(std::memory_order_relaxed),
            .filters = arfs_filters(queue),
            .refused = rps->refused};
}

void set_rps_sock_flow_entries(net_core &core, unsigned entries)
{
    check_range("rps_sock_flow_entries", entries, RPS_SOCK_FLOW_ENTRIES_MAX);
    rps_state &state = core.rps();
    if (entries == rps_sock_flow_entries(core)) {
        return;
    }
    rps_sock_flow_table *table = nullptr;
    if (entries != 0) {
        // At least one bit of the hash must fit beside the CPU.
        const unsigned size = std::max(std::bit_ceil(entries), 2 * std::bit_ceil(core.cpus()));
        auto &slot = state.sock_flow_tables[static_cast<unsigned>(std::countr_zero(size))];
        if (!slot) {
            slot = std::make_unique<rps_sock_flow_table>(size, core.cpus());
        }
        if (slot.get() != state.sock_flow.load(std::memory_order_relaxed)) {
            slot->clear();
        }
        table = slot.get();
    }
    state.sock_flow.store(table, std::memory_order_release);
}

unsigned rps_sock_flow_entries(const net_core &core) noexcept
{
    const rps_sock_flow_table *table = core.rps().sock_flow.load(std::memory_order_relaxed);
    return table ? table->mask + 1 : 0;
}

void set_flow_limit(net_core &core, const flow_limit_config &config)
{
    check_cpus("flow_limit_cpu_bitmap", config.flow_limit_cpu_bitmap, core.cpus());
    const unsigned len = config.flow_limit_table_len;
    if (!std::has_single_bit(len) || len > FLOW_LIMIT_TABLE_LEN_MAX) {
        throw error("flow_limit_table_len: found " + std::to_string(len) + ", expected a power of two from 1 to " +
                    std::to_string(FLOW_LIMIT_TABLE_LEN_MAX));
    }
    for (unsigned c = 0; c < core.cpus(); ++c) {
        const bool on = std::ranges::binary_search(config.flow_limit_cpu_bitmap, c);
        std::unique_ptr<sd_flow_limit> limit = on ? std::make_unique<sd_flow_limit>(len) : nullptr;
        core.rt().call_on(c, [&](softnet_data &) { core.cpu(c).rps->limit.swap(limit); });
    }
    core.rps().limit = config;
}

const flow_limit_config &flow_limit(const net_core &core) noexcept { return core.rps().limit; }

} // namespace halfpoll
