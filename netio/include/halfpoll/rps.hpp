// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/error.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace halfpoll
{

class net_core;
struct rx_queue;

// Steering of received packets to other CPUs (the kernel's RPS and RFS, Documentation/networking/scaling.rst). A queue
// has a map of CPUs; the flow hash chooses among them, and the packet goes through the backlog of that CPU, of the own
// one too. With a flow table, flows go where the embedder has said that they are consumed, as far as it is known.
//
// No change of its CPU reorders a flow, up to where it is delivered or leaves by a tx queue: with a flow table it stays
// where it is while it has packets there or on the way from there to the owner of the tx queue; a change of the map or
// table comes into force when the queue has none, for which it pauses if that does not happen within a millisecond.

/// Settings of one rx queue.
struct rps_config {
    std::vector<unsigned> rps_cpus; ///< runtime CPUs, ascending; empty: no steering by the map
    unsigned rps_flow_cnt = 0;      ///< entries of the flow table, a power of two is made of them; 0: none
    bool operator==(const rps_config &) const = default;
};

inline constexpr unsigned RPS_FLOW_CNT_MAX = 1U << 20;
inline constexpr unsigned RPS_SOCK_FLOW_ENTRIES_MAX = 1U << 24;
inline constexpr unsigned FLOW_LIMIT_TABLE_LEN_MAX = 1U << 20;

/// Against few flows that fill the backlog of a CPU: once it is half full, a flow (a bucket of the table) that has more
/// than 64 of the last 128 packets loses the next ones.
struct flow_limit_config {
    std::vector<unsigned> flow_limit_cpu_bitmap; ///< runtime CPUs whose rx queues are limited, ascending; empty: off
    unsigned flow_limit_table_len = 4096;        ///< buckets, a power of two
    bool operator==(const flow_limit_config &) const = default;
};

/// Steering of a queue from now on. Control thread; throws `error` that names the legal range, and changes nothing
/// then.
void rps_configure(rx_queue &queue, const rps_config &config);
/// Throws what rps_configure() would throw on a core of `cpus` CPUs; `name`: whose settings they are.
void rps_check(const rps_config &config, unsigned cpus, const std::string &name);
/// The last rps_configure() is in force. Control thread; looks, does not wait.
bool rps_settled(rx_queue &queue);
/// Everything that the queue has handed to other CPUs, or to its own backlog, was delivered. A queue that is disabled
/// stays so, and may then get another home; rps_configure() after that. Control thread.
bool rps_drained(rx_queue &queue);

/// Whether packets may be steered to a CPU (at first, all). Queues go over to it as after rps_configure(): once
/// rps_settled() for each of them, nothing of them is left on a CPU that was taken out. Control thread.
void rps_set_online(net_core &core, unsigned cpu, bool online);

/// The table of what is consumed where: `entries` are rounded up to a power of two; 0: off. Control thread; throws
/// `error`, and changes nothing then.
void set_rps_sock_flow_entries(net_core &core, unsigned entries);
unsigned rps_sock_flow_entries(const net_core &core) noexcept;
/// The flow with that hash (mbuf->hash.rss) is consumed on a CPU: queues with a flow table steer it there from now on.
/// To be called as it is consumed, each time: a few stores, and none if nothing changed. Flows whose hashes collide in
/// the table overwrite one another and go by the map meanwhile. Any thread.
void rps_record_sock_flow(net_core &core, std::uint32_t hash, unsigned cpu) noexcept;

/// Control thread; throws `error`, and changes nothing then.
void set_flow_limit(net_core &core, const flow_limit_config &config);
const flow_limit_config &flow_limit(const net_core &core) noexcept;

/// Figures of a queue, since it was opened.
struct rps_counters {
    std::uint64_t steered = 0; ///< to a backlog
    std::uint64_t direct = 0;  ///< processed where they were received
    std::uint64_t moved = 0;   ///< changes of a flow's CPU
    std::uint64_t put_off = 0; ///< packets whose flow was to move, but had others in flight
    std::uint64_t pauses = 0;  ///< polls that waited for a change of the settings
    std::uint64_t filters = 0; ///< flows that the device brings to the queue (ntuple)
    std::uint64_t refused = 0; ///< flows that it did not bring elsewhere
};
/// Control thread.
rps_counters rps_counters_of(const rx_queue &queue) noexcept;

} // namespace halfpoll
