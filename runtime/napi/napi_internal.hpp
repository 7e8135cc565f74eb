// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/napi.hpp>
#include <halfpoll/softnet_data.hpp>

namespace halfpoll
{

// In a section of the instance's home CPU, except napi_move().

/// Calls the device's poll function and accounts for it. Returns the number of packets, at most `budget`.
int napi_call_poll(napi_struct &napi, int budget) noexcept;
/// Ends a poll that used its whole budget. True: the instance is still owned, and the caller queues it again. False:
/// the caller leaves it alone, because it was released for napi_disable() or a busy poller, or its poll function has
/// completed against its contract.
bool napi_poll_full(napi_struct &napi, int work) noexcept;
/// Records for the adaptive policy that the current poll has found packets.
void napi_note_packets(napi_struct &napi) noexcept;
/// True if the instance stays owned and is polled again at once, by its settings and the adaptive policy.
bool napi_keeps_spinning(const napi_struct &napi, std::uint32_t state) noexcept;

/// napi_set_home() that does not change `chosen`: for a stand-in, and for the way back. Control thread.
void napi_move(napi_struct &napi, softnet_data &to);

/// Masks the interrupt if it is unmasked.
void napi_mask_irq(napi_struct &napi) noexcept;
/// Moves the instance down to `rung`. `reason` is a static string.
void napi_lower_rung(napi_struct &napi, wait_rung rung, const char *reason) noexcept;

/// Accounts for an event that brought no packets. A device that raises too many of them loses its interrupt.
void napi_note_spurious(napi_struct &napi) noexcept;

// Callbacks of the instance's timers and of its event source.
void napi_watchdog(hrtimer &timer) noexcept;
void napi_park_expired(hrtimer &timer) noexcept;
void napi_event(wait_source &source, int res) noexcept;

} // namespace halfpoll
