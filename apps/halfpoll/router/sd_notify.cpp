// SPDX-License-Identifier: BSD-3-Clause
#include "sd_notify.hpp"

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace halfpoll
{

void sd_notify(const std::string &state) noexcept
{
    const char *path = std::getenv("NOTIFY_SOCKET");
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    if (!path || !*path || std::strlen(path) >= sizeof to.sun_path) {
        return;
    }
    std::memcpy(to.sun_path, path, std::strlen(path));
    if (to.sun_path[0] == '@') { // abstract socket
        to.sun_path[0] = '\0';
    }
    const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return;
    }
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + std::strlen(path));
    // A manager that does not listen is not an error.
    (void)!sendto(fd, state.data(), state.size(), MSG_NOSIGNAL | MSG_DONTWAIT, reinterpret_cast<sockaddr *>(&to),
                  length);
    close(fd);
}

ktime_t sd_watchdog_interval() noexcept
{
    const char *pid = std::getenv("WATCHDOG_PID");
    const char *usecs = std::getenv("WATCHDOG_USEC");
    if (!usecs || (pid && std::strtol(pid, nullptr, 10) != getpid())) {
        return KTIME_MAX;
    }
    const std::int64_t allowed = std::strtoll(usecs, nullptr, 10);
    return allowed > 0 ? allowed * NSEC_PER_USEC / 2 : KTIME_MAX;
}

} // namespace halfpoll
