// SPDX-License-Identifier: BSD-3-Clause
#include "log.hpp"

#include <halfpoll/ktime.hpp>

#include <mutex>
#include <poll.h>
#include <unistd.h>

namespace halfpoll
{

namespace
{

constexpr unsigned LINES_PER_SECOND = 20;

std::mutex mutex;
ktime_t second_began = -NSEC_PER_SEC;
unsigned lines = 0;
unsigned left_out = 0;

/// True if stderr takes at least PIPE_BUF bytes now.
bool writable()
{
    pollfd p{STDERR_FILENO, POLLOUT, 0};
    return poll(&p, 1, 0) == 1 && (p.revents & POLLOUT);
}

} // namespace

void log_line(const std::string &text)
{
    const std::lock_guard lock(mutex);
    const ktime_t now = ktime_get();
    if (now - second_began >= NSEC_PER_SEC) {
        second_began = now;
        lines = 0;
    }
    if (++lines > LINES_PER_SECOND || !writable()) {
        ++left_out;
        return;
    }
    const std::string missing = left_out ? " (" + std::to_string(left_out) + " messages left out before)" : "";
    const std::string line = "halfpoll: " + text + missing + "\n";
    if (write(STDERR_FILENO, line.data(), line.size()) > 0) {
        left_out = 0;
    }
}

} // namespace halfpoll
