// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/error.hpp>

#include <sys/random.h>

#include <cerrno>
#include <type_traits>

namespace halfpoll
{

/// Random bytes that nobody outside the process can predict. At most 256 bytes, which the kernel delivers in one call.
/// Throws `error`.
template <typename T>
T random_secret()
{
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 256);
    T secret;
    if (getrandom(&secret, sizeof secret, 0) != static_cast<ssize_t>(sizeof secret)) {
        throw_errno(errno, "the kernel has no random bytes");
    }
    return secret;
}

} // namespace halfpoll
