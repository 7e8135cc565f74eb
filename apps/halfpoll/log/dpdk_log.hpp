// SPDX-License-Identifier: BSD-3-Clause
#pragma once

namespace halfpoll
{

/// DPDK's messages go to our log from here on, as kind "dpdk". After eal_init().
void redirect_dpdk_log();

} // namespace halfpoll
