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
// has a map of CPUs. The flow hash chooses one of them, and the packet goes through the backlog of that CPU, even if it
// is the receiving CPU. With a flow table, a flow goes to the CPU on which the embedder has recorded that it is
// consumed, if that is known.
//
// A change of its CPU does not reorder a flow, up to its delivery or to the tx queue by which it leaves. With a flow
// table, a flow stays on its CPU while it has packets there or on the way from there to the driver. A change of the map
// or table comes into force when the queue has no packet in flight; the queue pauses if that does not happen within a
// millisecond.

/// Steering settings of one rx queue.
struct rps_config {
    std::vector<unsigned> rps_cpus; ///< runtime CPUs, ascending; empty: no steering by the map
    unsigned rps_flow_cnt = 0;      ///< entries of the flow table, rounded up to a power of two; 0: none
    bool operator==(const rps_config &) const = default;
};

inline constexpr unsigned RPS_FLOW_CNT_MAX = 1U << 20;
inline constexpr unsigned RPS_SOCK_FLOW_ENTRIES_MAX = 1U << 24;
inline constexpr unsigned FLOW_LIMIT_TABLE_LEN_MAX = 1U << 20;

/// Protects a CPU's backlog from a few large flows. Once the backlog is half full, a flow (a bucket of the table) that
/// has more than 64 of the last 128 packets loses its next packets.
struct flow_limit_config {
    /// Runtime CPUs whose rx queues are limited, ascending; empty: no limit.
    std::vector<unsigned> flow_limit_cpu_bitmap;
    unsigned flow_limit_table_len = 4096; ///< buckets, a power of two
    bool operator==(const flow_limit_config &) const = default;
};

/// Sets the steering of a queue from now on. Control thread. Throws `error` that names the legal range, and then
/// changes nothing.
void rps_configure(rx_queue &queue, const rps_config &config);
/// Throws what rps_configure() would throw with `cpus` runtime CPUs. `name` begins the message. Any thread.
void rps_check(const rps_config &config, unsigned cpus, const std::string &name);
/// Whether the last rps_configure() is in force. Does not wait. Control thread.
bool rps_settled(rx_queue &queue);
/// Whether all packets that the queue has handed to other CPUs, or to its own CPU's backlog, have been delivered. A
/// disabled queue for which this holds may get another home; call rps_configure() after that. Control thread.
bool rps_drained(rx_queue &queue);

/// Sets whether packets may be steered to a CPU (initially, to all that are online). Queues adopt this as after
/// rps_configure(): once rps_settled() is true for each queue, no packet of theirs is left on a CPU that was taken out.
/// Control thread.
void rps_set_online(net_core &core, unsigned cpu, bool online);

/// Sets the size of the table of recorded flows; `entries` is rounded up to a power of two, 0: off. Control thread.
/// Throws `error` if it exceeds RPS_SOCK_FLOW_ENTRIES_MAX, and then changes nothing.
void set_rps_sock_flow_entries(net_core &core, unsigned entries);
unsigned rps_sock_flow_entries(const net_core &core) noexcept;
/// Records that the flow with that hash (mbuf->hash.rss) is consumed on a CPU: queues with a flow table steer it there
/// from now on. Call it each time the flow is consumed; it costs a few stores, and none if nothing has changed. Flows
/// whose hashes collide in the table overwrite each other's entry and then go by the map. Any thread.
void rps_record_sock_flow(net_core &core, std::uint32_t hash, unsigned cpu) noexcept;

/// Sets the flow limit. Control thread. Throws `error` if a CPU or the table length is out of range, and then changes
/// nothing.
void set_flow_limit(net_core &core, const flow_limit_config &config);
const flow_limit_config &flow_limit(const net_core &core) noexcept;

/// Counters of a queue since it was opened.
struct rps_counters {
    std::uint64_t steered = 0; ///< packets given to a backlog
    std::uint64_t direct = 0;  ///< packets processed on the CPU that received them
    std::uint64_t moved = 0;   ///< changes of a flow's CPU
    std::uint64_t put_off = 0; ///< packets whose flow should move, but had others in flight
    std::uint64_t pauses = 0;  ///< polls that received nothing because a change of the settings was waiting
    std::uint64_t filters = 0; ///< flows that the device brings to this queue at present (ntuple)
    std::uint64_t refused = 0; ///< flows of this queue that the device did not bring to another one
};
/// Control thread.
rps_counters rps_counters_of(const rx_queue &queue) noexcept;

} // namespace halfpoll
