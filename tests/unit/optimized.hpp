// SPDX-License-Identifier: BSD-3-Clause
#pragma once

namespace halfpoll::test
{

/// False in a build without optimization, such as the suite's AddressSanitizer build. Random tests that compute all the
/// time take fewer steps there.
#ifdef __OPTIMIZE__
inline constexpr bool optimized = true;
#else
inline constexpr bool optimized = false;
#endif

} // namespace halfpoll::test
