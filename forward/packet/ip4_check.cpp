// SPDX-License-Identifier: BSD-3-Clause
#include "ip4_check.hpp"

namespace halfpoll
{

std::span<const ip4_check_level> ip4_check_levels() noexcept
{
#ifdef __x86_64__
    static constexpr ip4_check_level levels[] = {
        {"avx512", ip4_check_avx512}, {"avx2", ip4_check_avx2}, {"sse4.2", ip4_check_base}};
    static const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    static const bool avx2 = __builtin_cpu_supports("avx2");
    return std::span(levels).subspan(avx512 ? 0 : avx2 ? 1 : 2);
#else
    static constexpr ip4_check_level levels[] = {{"base", ip4_check_base}};
    return levels;
#endif
}

} // namespace halfpoll
