// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/runtime.hpp>

#include "runtime/cpu/bh_thread.hpp"

namespace halfpoll
{

struct runtime::thread : bh_thread {
    ~thread() { bh_thread_stop(*this); }
};

} // namespace halfpoll
