// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <deque>
#include <functional>
#include <utility>

namespace halfpoll::test
{

/// Collects retired functions; pass() runs them, as after a grace period.
struct grace {
    std::deque<std::function<void()>> waiting;
    std::function<void(std::function<void()>)> retire()
    {
        return [this](std::function<void()> fn) { waiting.push_back(std::move(fn)); };
    }
    void pass()
    {
        while (!waiting.empty()) {
            waiting.front()();
            waiting.pop_front();
        }
    }
};

} // namespace halfpoll::test
