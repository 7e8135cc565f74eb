// SPDX-License-Identifier: BSD-3-Clause
#define ALLOW_EXPERIMENTAL_API // as in xdp_trace_register.cpp
#include "xdp_trace.hpp"

#include "xdp_trace_points.hpp"

namespace halfpoll
{

void trace_xdp_exception(const net_device &dev, unsigned act, unsigned packets) noexcept
{
    tp_xdp_exception(dev.ifindex, act, packets);
}

void trace_xdp_redirect(const net_device &from, const halfpoll_xdp_target &to, int err, unsigned packets) noexcept
{
    const char *map = to.map ? to.map->name.c_str() : "";
    if (err == 0) {
        tp_xdp_redirect(from.ifindex, map, to.key, packets);
    } else {
        tp_xdp_redirect_err(from.ifindex, map, to.key, err, packets);
    }
}

void trace_xdp_devmap_xmit(const net_device &from, const net_device &to, unsigned sent, unsigned drops) noexcept
{
    tp_xdp_devmap_xmit(from.ifindex, to.ifindex, sent, drops);
}

void trace_xdp_cpumap_enqueue(unsigned cpu, unsigned to_cpu, unsigned processed, unsigned drops) noexcept
{
    tp_xdp_cpumap_enqueue(cpu, to_cpu, processed, drops);
}

void trace_xdp_cpumap_kthread(unsigned cpu, unsigned processed, unsigned pass) noexcept
{
    tp_xdp_cpumap_kthread(cpu, processed, pass);
}

} // namespace halfpoll
