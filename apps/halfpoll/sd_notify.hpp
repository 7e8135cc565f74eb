// SPDX-License-Identifier: BSD-3-Clause
#pragma once

namespace halfpoll
{

/// Tells a service manager ("READY=1", "STOPPING=1"), if the environment names one in NOTIFY_SOCKET.
void sd_notify(const char *state) noexcept;

} // namespace halfpoll
