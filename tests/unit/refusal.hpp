// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/error.hpp>

#include <functional>
#include <string>

namespace halfpoll::test
{

/// The message of the exception that `fn` throws; empty if it throws none.
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
