// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "runtime/thread/smpboot.hpp"

namespace halfpoll
{

/// The work of `ksoftirqd/N`: one dispatch, after which it yields the CPU to other threads.
void run_ksoftirqd(softnet_data &sd, const smpboot_thread &thread) noexcept;

} // namespace halfpoll
