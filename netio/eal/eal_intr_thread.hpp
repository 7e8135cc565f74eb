// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <functional>

namespace halfpoll
{

/// Runs `work` (which must not throw) on EAL's interrupt thread and waits for it. Meanwhile no interrupt callback and
/// no alarm of a driver runs, and no alarm that was set before is pending. It must not be called on that thread.
/// Without memory for an alarm, `work` runs on the caller.
void run_on_eal_intr_thread(const std::function<void()> &work) noexcept;

} // namespace halfpoll
