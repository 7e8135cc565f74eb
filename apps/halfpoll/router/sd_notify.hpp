// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/ktime.hpp>

#include <string>

namespace halfpoll
{

/// Tells a service manager ("READY=1", "STOPPING=1"), if the environment names one in NOTIFY_SOCKET.
void sd_notify(const std::string &state) noexcept;

/// How often the service manager wants to hear "WATCHDOG=1": half of what it allows; KTIME_MAX: it does not.
ktime_t sd_watchdog_interval() noexcept;

} // namespace halfpoll
