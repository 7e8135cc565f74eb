// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/napi.hpp>
#include <halfpoll/softnet_data.hpp>

namespace halfpoll
{

/// Everything here belongs to the instance's home CPU.

/// Calls the device's poll function and accounts for it. At most `budget` is returned.
int napi_call_poll(napi_struct &napi, int budget) noexcept;
/// After a poll that used its whole budget. True: it is still owned and to be polled again; else it was given up,
/// because somebody waits for it.
bool napi_poll_full(napi_struct &napi, int work) noexcept;
/// Feeds the adaptive policy: this poll found packets.
void napi_note_packets(napi_struct &napi) noexcept;
/// Stays owned and polls again at once, by the settings of the instance and the adaptive policy.
bool napi_keeps_spinning(const napi_struct &napi, std::uint32_t state) noexcept;
/// Puts an instance that is owned and on no list onto the poll list.
void napi_enqueue(softnet_data &sd, napi_struct &napi) noexcept;

/// napi_set_home() to a CPU that is only to stand in for the one that was chosen. Control thread.
void napi_move(napi_struct &napi, softnet_data &to);

/// Masks the interrupt if it is unmasked.
void napi_mask_irq(napi_struct &napi) noexcept;
/// Moves the instance down the ladder. `reason` is a static string.
void napi_lower_rung(napi_struct &napi, wait_rung rung, const char *reason) noexcept;

/// An event brought no packets: a device that does so on and on loses its interrupt.
void napi_note_spurious(napi_struct &napi) noexcept;

/// Callbacks of the instance's timers and its event source.
void napi_watchdog(hrtimer &timer) noexcept;
void napi_park_expired(hrtimer &timer) noexcept;
void napi_event(wait_source &source, int res) noexcept;

} // namespace halfpoll
