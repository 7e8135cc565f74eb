// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/ktime.hpp>

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace halfpoll
{

/// Passes at most `burst` messages of a kind in each window of `interval`. It reads no clock: the result depends on the
/// arguments only. One thread.
class log_limit
{
public:
    log_limit(unsigned burst, ktime_t interval) : burst_(burst), interval_(interval) {}

    struct verdict {
        bool passes = false;
        unsigned left_out = 0; ///< messages suppressed since the last one that passed
    };
    verdict pass(std::string_view kind, ktime_t now)
    {
        window &w = windows_.try_emplace(std::string(kind), window{now}).first->second;
        if (now - w.began >= interval_) {
            w.began = now;
            w.passed = 0;
        }
        if (w.passed == burst_) {
            ++w.left_out;
            return {};
        }
        ++w.passed;
        return {true, std::exchange(w.left_out, 0)};
    }
    /// Returns for each kind the number of suppressed messages that were not yet mentioned, and resets it.
    std::vector<std::pair<std::string, unsigned>> take_left_out()
    {
        std::vector<std::pair<std::string, unsigned>> all;
        for (auto &[kind, w] : windows_) {
            if (w.left_out > 0) {
                all.emplace_back(kind, std::exchange(w.left_out, 0));
            }
        }
        return all;
    }

private:
    struct window {
        ktime_t began = 0;
        unsigned passed = 0;
        unsigned left_out = 0;
    };

    unsigned burst_;
    ktime_t interval_;
    std::map<std::string, window, std::less<>> windows_;
};

} // namespace halfpoll
