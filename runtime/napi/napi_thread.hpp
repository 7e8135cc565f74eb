// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/napi.hpp>

namespace halfpoll
{

/// Makes the thread that `config.threaded` asks for, or starts it again. Control thread; throws `error`, in mode
/// `exclusive` too.
void napi_thread_start(napi_struct &napi, napi_threaded mode);
/// Ends it; whoever still wakes it does no harm. The instance is not THREADED. Control thread.
void napi_thread_stop(napi_struct &napi) noexcept;
/// The state bits of a mode.
std::uint32_t napi_threaded_bits(napi_threaded mode) noexcept;
inline constexpr std::uint32_t NAPI_THREADED_BITS = NAPIF_STATE_THREADED | NAPIF_STATE_THREADED_BUSY_POLL;

/// Gives an instance whose SCHED the caller holds to its thread. Any thread.
void napi_thread_schedule(napi_struct &napi) noexcept;

} // namespace halfpoll
