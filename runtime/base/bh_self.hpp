// SPDX-License-Identifier: BSD-3-Clause
#pragma once

namespace halfpoll
{

struct softnet_data;

/// The role of the calling thread in the runtime.
struct bh_self {
    softnet_data *home = nullptr;    ///< its CPU; null: it is no bottom-half thread
    softnet_data *section = nullptr; ///< `home` while the thread is in a section; else null
    unsigned reader = 0;             ///< its RCU reader id
    bool own = false;                ///< it is the CPU's own thread, which owns the wait engine
};
extern constinit thread_local bh_self this_bh_self [[gnu::tls_model("initial-exec")]];

} // namespace halfpoll
