// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <functional>

namespace halfpoll
{

/// Runs `work` (must not throw) on EAL's interrupt thread and waits for it. While it runs no interrupt callback and no
/// alarm of any driver runs, and none that was set before is pending. Not from that thread itself. Without memory for
/// an alarm it runs on the caller.
void run_on_eal_intr_thread(const std::function<void()> &work) noexcept;

} // namespace halfpoll
