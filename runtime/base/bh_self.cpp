// SPDX-License-Identifier: BSD-3-Clause
#include "bh_self.hpp"

#include <halfpoll/current_tid.hpp>
#include <halfpoll/softnet_data.hpp>

#include <unistd.h>

namespace halfpoll
{

constinit thread_local bh_self this_bh_self;
constinit thread_local lock_self this_lock_self;

softnet_data *this_softnet_data() noexcept { return this_bh_self.section; }

std::uint32_t current_tid_slow() noexcept { return this_lock_self.tid = static_cast<std::uint32_t>(gettid()); }

} // namespace halfpoll
