// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/error.hpp>

#include <functional>
#include <string>

namespace halfpoll::test
{

/// What `fn` throws, as text; empty: nothing.
inline std::string refusal(const std::function<void()> &fn)
{
    try {
        fn();
    } catch (const error &e) {
        return e.what();
    }
    return "";
}

} // namespace halfpoll::test
