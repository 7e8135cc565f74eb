// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "config.hpp"

#include <string>
#include <vector>

namespace halfpoll
{

/// The force-threaded interrupt handler of an rx queue: a runtime CPU for this queue alone, on the logical CPU where
/// the queue would otherwise be at home.
struct irq_thread {
    std::string port; ///< name of the port
    unsigned affinity = 0;
    int fifo_priority = 0;
    std::string name; ///< name of the thread
    bool operator==(const irq_thread &) const = default;
};

/// Returns the threads of all ports with `irq_priority`, queue by queue. Their runtime CPUs have the numbers from
/// cfg.cpus.size() on.
std::vector<irq_thread> irq_threads(const config &cfg);

/// "irq/PORT-QUEUE". The system shows 15 bytes, so a long PORT is cut at the front: its end distinguishes devices.
std::string irq_thread_name(const std::string &port, unsigned queue);

} // namespace halfpoll
