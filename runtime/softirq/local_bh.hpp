// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/softnet_data.hpp>

namespace halfpoll
{

/// True in the exclusion modes in which `sd.lock` is held for each section: `big` and `nested`.
inline bool has_section_lock(const softnet_data &sd) noexcept { return sd.lock != nullptr; }

/// True if a vector is pending or an instance spins. In a section.
inline bool cpu_has_work(const softnet_data &sd) noexcept { return sd.softirq_pending != 0 || !sd.spin_list.empty(); }

/// Begin and end the section of one turn of the CPU's own thread, in modes `big` and `nested`. Bottom halves do not
/// count as disabled in it, since the turn stands for interrupts, softirqs and tasks.
void turn_begin(softnet_data &sd) noexcept;
void turn_end(softnet_data &sd) noexcept;

} // namespace halfpoll
