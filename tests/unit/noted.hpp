// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <atomic>
#include <functional>
#include <thread>

namespace halfpoll::test
{

/// A tasklet or a work item (`Item`) that records its runs.
template <typename Item>
struct noted : Item {
    std::atomic<int> runs{0};
    std::atomic<int> inside{0};
    std::atomic<bool> overlapped{false};
    std::atomic<bool> hold{false}; ///< while set, the callback waits
    std::function<void()> more;
    noted()
    {
        this->func = [](Item &item) noexcept {
            auto &self = static_cast<noted &>(item);
            if (self.inside.fetch_add(1) != 0) {
                self.overlapped = true;
            }
            self.runs.fetch_add(1);
            while (self.hold) {
                std::this_thread::yield();
            }
            if (self.more) {
                self.more();
            }
            self.inside.fetch_sub(1);
        };
    }
};

} // namespace halfpoll::test
