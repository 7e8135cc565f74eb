// SPDX-License-Identifier: BSD-3-Clause
#pragma once

struct rte_mempool;

namespace halfpoll
{

/// Whether packet pools are allocated in EAL memory. Memory that a vhost-user peer maps, or that the EAL maps for the
/// DMA of a device, must be the EAL's. If neither is needed and the EAL has only 4 KiB pages, transparent huge pages
/// are better: eal_init() clears this then. Control thread.
extern bool pools_in_eal_memory;

/// Packets that any thread could take from the pool now; it excludes packets in the caches of threads. Any thread.
unsigned packet_pool_common(const rte_mempool *pool) noexcept;

} // namespace halfpoll
