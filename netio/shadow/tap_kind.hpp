// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <string>

namespace halfpoll
{

/// What stands under a name in the calling thread's network namespace. A TAP has one queue or any number of them, for
/// ever: the kernel lets only those attach who ask for the same (IFF_MULTI_QUEUE).
struct tap_kind {
    enum { none, other, single_queue, multi_queue } kind = none;
    unsigned attached = 0; ///< multi_queue: file descriptors of all processes
};
/// Control thread. Does not throw: `none` if the kernel does not answer.
tap_kind tap_kind_of(const std::string &name);

} // namespace halfpoll
