// SPDX-License-Identifier: BSD-3-Clause
//
// Not part of the API: net_cpu.hpp needs it.
#pragma once

#include <halfpoll/napi.hpp>

namespace halfpoll
{

struct net_cpu;

/// A NAPI instance of a net_cpu, from which its poll function finds the net_cpu.
struct cpu_napi : napi_struct {
    net_cpu *cpu = nullptr;
};

} // namespace halfpoll
