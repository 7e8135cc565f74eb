// SPDX-License-Identifier: BSD-3-Clause
#include "sysctl_file.hpp"

#include <halfpoll/netns.hpp>

#include <cerrno>
#include <charconv>
#include <fcntl.h>
#include <system_error>
#include <unistd.h>

namespace halfpoll
{

sysctl_file::sysctl_file(const std::string &netns, const std::string &path)
{
    const std::string full = "/proc/sys/net/" + path;
    const netns_scope scope(netns); // the file shows the namespace of the thread that opens it
    fd_ = open(full.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd_ < 0 && errno != ENOENT) {
        throw_errno(errno, full);
    }
}

sysctl_file::~sysctl_file()
{
    if (fd_ >= 0) {
        close(fd_);
    }
}

std::optional<int> sysctl_file::read() const noexcept
{
    char text[24];
    const ssize_t length = fd_ < 0 ? -1 : pread(fd_, text, sizeof text, 0);
    int value = 0;
    if (length <= 0 || std::from_chars(text, text + length, value).ec != std::errc()) {
        return {};
    }
    return value;
}

} // namespace halfpoll
