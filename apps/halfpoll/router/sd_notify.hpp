// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/ktime.hpp>

#include <string>

namespace halfpoll
{

/// Sends a state ("READY=1", "STOPPING=1") to the service manager, if the environment names one in NOTIFY_SOCKET.
void sd_notify(const std::string &state) noexcept;

/// Returns the interval for sending "WATCHDOG=1": half of what the service manager allows; KTIME_MAX: it has no
/// watchdog.
ktime_t sd_watchdog_interval() noexcept;

} // namespace halfpoll
