// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <pthread.h>

#include <cstddef>

namespace halfpoll::test
{

/// While an object exists, no thread can start: there is no room for a stack of the default size.
class no_threads
{
public:
    no_threads()
    {
        pthread_attr_t attr;
        pthread_getattr_default_np(&attr);
        pthread_attr_getstacksize(&attr, &before_);
        pthread_attr_destroy(&attr);
        set(std::size_t{1} << 50);
    }
    ~no_threads() { set(before_); }
    no_threads(const no_threads &) = delete;
    no_threads &operator=(const no_threads &) = delete;

private:
    static void set(std::size_t stack)
    {
        pthread_attr_t attr;
        pthread_getattr_default_np(&attr);
        pthread_attr_setstacksize(&attr, stack);
        pthread_setattr_default_np(&attr);
        pthread_attr_destroy(&attr);
    }
    std::size_t before_ = 0;
};

} // namespace halfpoll::test
