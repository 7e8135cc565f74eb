// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "runtime/thread/smpboot.hpp"

namespace halfpoll
{

/// The work of `ksoftirqd/N`: one dispatch, then whoever else has work on the CPU gets his turn.
void run_ksoftirqd(softnet_data &sd, const smpboot_thread &thread) noexcept;

} // namespace halfpoll
