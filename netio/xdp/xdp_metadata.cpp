// SPDX-License-Identifier: BSD-3-Clause
#include "xdp_internal.hpp"

#include <halfpoll/error.hpp>

#include <rte_errno.h>
#include <rte_mbuf_dyn.h>

namespace halfpoll
{

xdp_metadata xdp_meta;

void xdp_init()
{
    constexpr rte_mbuf_dynfield field{.name = "halfpoll_xdp_meta_len", .size = 1, .align = 1, .flags = 0};
    constexpr rte_mbuf_dynflag flag{.name = "halfpoll_xdp_meta", .flags = 0};
    const int offset = rte_mbuf_dynfield_register(&field);
    const int bit = offset < 0 ? -1 : rte_mbuf_dynflag_register(&flag);
    if (bit < 0) {
        throw_errno(rte_errno, "no room in packets for the length of XDP metadata");
    }
    xdp_meta = {offset, std::uint64_t{1} << bit};
}

} // namespace halfpoll
