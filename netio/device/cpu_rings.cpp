// SPDX-License-Identifier: BSD-3-Clause
#include "cpu_rings.hpp"
#include "netio/buffers/defer_ring.hpp"
#include "netio/steering/backlog_internal.hpp"
#include "netio/steering/backlog_ring.hpp"
#include "netio/xmit/handover.hpp"

#include <halfpoll/softnet_data.hpp>

#include <algorithm>
#include <bit>
#include <cstdio>

namespace halfpoll
{

/// It delegates to the other constructor so that the destructor runs if it throws.
cpu_rings::cpu_rings(const data_cpus &cpus, unsigned foreign_threads, unsigned backlog_room) : cpu_rings(cpus)
{
    make_rings(foreign_threads, backlog_room);
    add_napis();
}

cpu_rings::~cpu_rings()
{
    remove_napis();
    for (const auto &cpu : cpus_) {
        cpus_.rt().call_on(cpu->id, [&](softnet_data &sd) {
            sd.timers.cancel(cpu->xmit.retry);
            cpu->cache->drain();
        });
    }
    for (const auto &cpu : cpus_) {
        std::ranges::for_each(cpu->handover.in, handover_ring_free);
        cpu->handover.in.clear();
        cpu->backlog.in.clear();
        cpu->defer.in.clear();
    }
}

/// Creates the rings from every CPU (and foreign thread) to every CPU.
void cpu_rings::make_rings(unsigned foreign_threads, unsigned backlog_room)
{
    // Each packet may come from another device than the packet before it, and then takes two slots.
    const unsigned slots = std::bit_ceil(2 * (backlog_room + 1));
    for (const auto &target : cpus_) {
        for (unsigned producer = 0; producer < cpus_.size() + foreign_threads; ++producer) {
            target->handover.in.push_back(handover_ring_create(target->id, producer));
        }
        for (const auto &producer : cpus_) {
            target->backlog.in.emplace_back(backlog_ring::create(*target, slots));
            producer->backlog.out.push_back(target->backlog.in.back().get());
            target->defer.in.emplace_back(new defer_ring);
            producer->defer.out.push_back(target->defer.in.back().get());
        }
    }
}

void cpu_rings::add_napis()
{
    for (const auto &cpu : cpus_) {
        cpu->handover.napi.cpu = cpu->backlog.napi.cpu = cpu.get();
        std::snprintf(cpu->handover.napi.name, sizeof cpu->handover.napi.name, "handover-%u", cpu->id);
        netif_napi_add(*cpu->sd, cpu->handover.napi, handover_poll); // its producers schedule it
        napi_enable(cpu->handover.napi);
        napi_backlog_add(*cpu->sd, cpu->backlog.napi, process_backlog);
        cpus_.rt().call_on(cpu->id, [&](softnet_data &) {
            cpu->sd->kick_idle_backlogs = kick_idle_backlogs;
            napi_enable(cpu->backlog.napi); // on the CPU itself, so that it does not count as received_rps
        });
    }
}

void cpu_rings::remove_napis() noexcept
{
    for (const auto &cpu : cpus_) {
        for (napi_struct *napi :
             {static_cast<napi_struct *>(&cpu->backlog.napi), static_cast<napi_struct *>(&cpu->handover.napi)}) {
            if (napi->sd) { // it was added
                napi_disable(*napi);
                netif_napi_del(*napi);
            }
        }
    }
}

} // namespace halfpoll
