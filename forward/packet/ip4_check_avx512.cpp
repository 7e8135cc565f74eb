// SPDX-License-Identifier: BSD-3-Clause
#include "ip4_check_group.hpp"

namespace halfpoll
{

bool ip4_check_avx512(ip4_burst &burst, const fib4 &routes, std::uint64_t mac, rte_mbuf *const *pkts,
                      unsigned n) noexcept
{
    return group<16>::check_all(burst, routes, mac, pkts, n);
}

} // namespace halfpoll
