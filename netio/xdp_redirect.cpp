// SPDX-License-Identifier: BSD-3-Clause
#include "xdp_internal.hpp"

namespace halfpoll
{

void xdp_do_redirect(net_cpu &cpu, net_device &, halfpoll_xdp_burst &burst) noexcept
{
    for (unsigned i = 0; i < burst.n; ++i) {
        if (burst.action[i] == XDP_REDIRECT) {
            drop_packets(cpu, DROP_XDP_REDIRECT, &burst.pkts[i], 1);
            burst.action[i] = XDP_TAKEN;
        }
    }
}

void xdp_do_flush(net_cpu &) noexcept {}

} // namespace halfpoll
