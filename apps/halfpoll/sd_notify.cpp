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

void sd_notify(const char *state) noexcept
{
    const char *path = std::getenv("NOTIFY_SOCKET");
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    if (!path || !*path || std::strlen(path) >= sizeof to.sun_path) {
        return;
    }
    std::memcpy(to.sun_path, path, std::strlen(path));
    if (to.sun_path[0] == '@') { // abstract
        to.sun_path[0] = '\0';
    }
    const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return;
    }
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + std::strlen(path));
    // A manager that does not listen is no reason to fail.
    (void)!sendto(fd, state, std::strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT, reinterpret_cast<sockaddr *>(&to),
                  length);
    close(fd);
}

} // namespace halfpoll
