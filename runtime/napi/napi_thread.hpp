// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/napi.hpp>

namespace halfpoll
{

/// Makes the instance's thread, or starts it again; does nothing for mode `disabled`. Control thread. Throws `error` in
/// exclusion mode `exclusive`, or if the system refuses a thread, an lcore id or the affinity.
void napi_thread_start(napi_struct &napi, napi_threaded mode);
/// Ends the thread; its object stays, so that a late wake-up does no harm. The instance is not THREADED. Control
/// thread.
void napi_thread_stop(napi_struct &napi) noexcept;
/// The napi_state bits of a mode.
std::uint32_t napi_threaded_bits(napi_threaded mode) noexcept;
inline constexpr std::uint32_t NAPI_THREADED_BITS = NAPIF_STATE_THREADED | NAPIF_STATE_THREADED_BUSY_POLL;

/// Makes the instance's thread the owner in place of the caller, and wakes the thread. Any thread.
void napi_thread_schedule(napi_struct &napi) noexcept;

} // namespace halfpoll
