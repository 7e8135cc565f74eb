// SPDX-License-Identifier: BSD-3-Clause
#pragma once

namespace halfpoll
{

/// From this call on, messages of DPDK go to halfpoll's log, as kind "dpdk". Call after eal_init().
void redirect_dpdk_log();

} // namespace halfpoll
