// SPDX-License-Identifier: BSD-3-Clause
#pragma once

namespace halfpoll
{

struct softnet_data;

/// A function that one thread asks another CPU to run (the kernel's call_single_data; see call_on_async()). The caller
/// owns it and keeps it until `func` runs; `func` may free it.
struct call_single_data {
    /// Runs on the CPU's own thread, in a section, not in a softirq. Its softnet_data is that of the CPU that runs it:
    /// the stand-in's if the CPU that was asked is offline.
    void (*func)(softnet_data &, void *arg) noexcept = nullptr;
    void *arg = nullptr;              ///< passed to `func`
    call_single_data *next = nullptr; ///< list linkage
};

} // namespace halfpoll
