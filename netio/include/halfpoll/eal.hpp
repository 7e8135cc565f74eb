// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/error.hpp>

#include <cstddef>
#include <string>
#include <vector>

struct rte_mempool;

namespace halfpoll
{

/// Settings for DPDK's EAL. The defaults need no hugepages, touch no PCI device and leave no files.
struct eal_options {
    std::vector<std::string> pci; ///< addresses to probe; empty: no PCI device is touched
    bool hugepages = false;       ///< use hugepages if enough are free; else add a note and go without
    unsigned memory_mb = 256;     ///< MiB of EAL memory, in hugepages or in ordinary pages
    bool shareable = false;       ///< memory that a vhost-user peer can map; net_virtio_user needs it
    unsigned control_cpu = 0;     ///< logical CPU of the EAL's own threads
    /// `trace`: regular expression of the tracepoints to enable, such as "xdp_.*"; empty: none. `trace_dir`: folder in
    /// which each start creates a folder of its own; empty: DPDK's default, ~/dpdk-traces. The trace is written when
    /// the runtime ends, or by trace_end().
    std::string trace, trace_dir;
    std::string vfio_intr; ///< kind of PCI interrupt: "msix", "msi" or "legacy"; empty: the one that works best
};

/// Initialises the EAL, once per process (--in-memory --no-telemetry …). Restores the caller's CPU affinity and
/// scheduling policy: a real-time caller is SCHED_OTHER meanwhile. The EAL's interrupt thread gets the caller's policy.
/// Returns notes about degraded settings. Throws `error` with the remedy. An embedder that has initialised the EAL
/// itself does not call this function. Control thread.
std::vector<std::string> eal_init(const eal_options &options);

/// How the threads that use a pool are spread over CPUs. It decides the mempool's handler.
enum class pool_users {
    /// One thread on each CPU: ring_mt_rts, the fastest; threads wait if one is preempted inside it for long.
    apart,
    preempted, ///< threads preempt others on their CPU: lf_stack, in which no thread waits for a preempted one
};

/// Makes a packet pool of `count` mbufs with `data_room` bytes each (headroom included) in one contiguous, page-aligned
/// region, which AF_XDP can register as UMEM. `cache`: mbufs in the cache of each lcore, at most
/// RTE_MEMPOOL_CACHE_MAX_SIZE and two thirds of `count`. The region is EAL memory if eal_init() uses hugepages,
/// shareable memory or PCI devices, or was not called; else it is mapped with transparent huge pages. The caller frees
/// the pool with packet_pool_free(), after all ports. Throws `error`. Control thread.
rte_mempool *packet_pool_create(const char *name, unsigned count, unsigned data_room, unsigned cache = 256,
                                pool_users users = pool_users::apart);
/// The memory region of a pool: start address and length in bytes. packet_pool_region() throws `error` if the pool was
/// not made by packet_pool_create().
struct pool_region {
    void *base = nullptr;
    std::size_t length = 0;
};
pool_region packet_pool_region(const rte_mempool *pool);
void packet_pool_free(rte_mempool *pool) noexcept;

} // namespace halfpoll
