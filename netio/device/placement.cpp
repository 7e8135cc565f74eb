// SPDX-License-Identifier: BSD-3-Clause
#include "placement.hpp"

#include <utility>

namespace halfpoll
{
namespace
{

/// The CPU that takes the queues of `cpu`, which is not active. `load`: queues of each CPU.
unsigned stand_in(const placement_cpus &cpus, unsigned cpu, const std::vector<unsigned> &load) noexcept
{
    const auto cost = [&](unsigned c) {
        const bool near = !cpus[cpu].general && cpus[c].core == cpus[cpu].core;
        return std::pair(!near, load[c]);
    };
    const auto n = static_cast<unsigned>(cpus.size());
    unsigned best = n;
    for (unsigned c = 0; c < n; ++c) {
        if (cpus[c].general && cpus[c].active && (best == n || cost(c) < cost(best))) {
            best = c;
        }
    }
    return best;
}

/// The CPU that takes packets which other logical CPUs hand over to `cpu`, on the tx queue that both share. Bulk
/// traffic must not be sent at the priority of a dedicated CPU.
unsigned collector(const placement_cpus &cpus, unsigned cpu) noexcept
{
    for (unsigned c = 0; c < cpus.size() && !cpus[cpu].general; ++c) {
        if (cpus[c].general && cpus[c].active && cpus[c].core == cpus[cpu].core) {
            return c;
        }
    }
    return cpu;
}

/// All CPUs in the order in which they choose, each once: `first`, then those that are active, then the others.
std::vector<unsigned> order_of_choice(const placement_cpus &cpus, const std::vector<unsigned> &first)
{
    std::vector<unsigned> order;
    std::vector<bool> seen(cpus.size());
    const auto add = [&](unsigned c) {
        if (!seen[c]) {
            seen[c] = true;
            order.push_back(c);
        }
    };
    for (const unsigned c : first) {
        add(c);
    }
    for (const bool active : {true, false}) {
        for (unsigned c = 0; c < cpus.size(); ++c) {
            if (cpus[c].active == active) {
                add(c);
            }
        }
    }
    return order;
}

} // namespace

unsigned count_cores(const placement_cpus &cpus) noexcept
{
    unsigned n = 0;
    for (unsigned c = 0; c < cpus.size(); ++c) {
        n += cpus[c].core == c;
    }
    return n;
}

std::vector<unsigned> rx_homes(const placement_cpus &cpus, std::vector<unsigned> wanted, unsigned rx_queues)
{
    const bool any = wanted.empty();
    for (unsigned c = 0; c < cpus.size() && any; ++c) {
        if (cpus[c].general) {
            wanted.push_back(c);
        }
    }
    std::vector<unsigned> homes(rx_queues);
    std::vector<unsigned> load(cpus.size());
    for (unsigned i = 0; i < rx_queues; ++i) {
        homes[i] = wanted[i % wanted.size()];
        load[homes[i]] += cpus[homes[i]].active;
    }
    for (unsigned &home : homes) {
        if (!cpus[home].active) {
            home = stand_in(cpus, home, load);
            ++load[home];
        }
    }
    return homes;
}

std::vector<tx_choice> choose_tx(const placement_cpus &cpus, const std::vector<unsigned> &rx_cpus, unsigned tx_queues)
{
    std::vector<tx_choice> choices(cpus.size());
    std::vector<std::uint16_t> owners;          // by tx queue
    std::vector<int> queue_of(cpus.size(), -1); // by placement_cpu::core: CPUs that preempt each other share a queue
    unsigned next = 0;
    for (const unsigned c : order_of_choice(cpus, rx_cpus)) {
        int &shared = queue_of[cpus[c].core];
        if (cpus[c].active && shared < 0 && owners.size() < tx_queues) {
            shared = static_cast<int>(owners.size());
            owners.push_back(static_cast<std::uint16_t>(collector(cpus, c)));
        }
        if (cpus[c].active && shared >= 0) {
            choices[c] = {static_cast<std::uint16_t>(shared), static_cast<std::uint16_t>(c)};
        } else {
            const std::size_t queue = next++ % owners.size();
            choices[c] = {static_cast<std::uint16_t>(queue), owners[queue]};
        }
    }
    return choices;
}

} // namespace halfpoll
