// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "data_cpus.hpp"

namespace halfpoll
{

/// The rings by which CPUs and foreign threads pass packets and buffers to CPUs, and the NAPI instances that poll them.
/// Control thread.
class cpu_rings
{
public:
    /// Fills the members of the CPUs for hand-over, backlog and deferred free. `backlog_room`: packets that a backlog
    /// ring holds at least. Throws `error` if memory is missing.
    cpu_rings(const data_cpus &cpus, unsigned foreign_threads, unsigned backlog_room);
    /// Frees the packets in the rings. No device is left, and no thread sends.
    ~cpu_rings();
    cpu_rings(const cpu_rings &) = delete;
    cpu_rings &operator=(const cpu_rings &) = delete;

private:
    explicit cpu_rings(const data_cpus &cpus) noexcept : cpus_(cpus) {}
    void make_rings(unsigned foreign_threads, unsigned backlog_room);
    void add_napis();
    void remove_napis() noexcept;

    const data_cpus &cpus_;
};

} // namespace halfpoll
