// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/irq_work.hpp>

#include "runtime/thread/smpboot.hpp"

namespace halfpoll
{

/// Before the CPU's threads start. Control thread.
void irq_work_init(softnet_data &sd) noexcept;
/// Runs on `to` the items that are queued on `from`, a CPU whose thread is held, LAZY ones too. On `to`, not in a
/// softirq.
void irq_work_adopt(softnet_data &from, softnet_data &to) noexcept;
/// The work of `irq_work/N`: runs the lazy list.
void run_irq_workd(softnet_data &sd, const smpboot_thread &thread) noexcept;

} // namespace halfpoll
