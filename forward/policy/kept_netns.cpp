// SPDX-License-Identifier: BSD-3-Clause
#include "kept_netns.hpp"

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <unistd.h>

namespace halfpoll
{

namespace
{

int open_this_namespace(const std::string &netns)
{
    if (netns.empty()) {
        return -1;
    }
    const netns_scope scope(netns);
    const int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        throw_errno(errno, "network namespace " + netns);
    }
    return fd;
}

} // namespace

kept_netns::kept_netns(const std::string &netns) : fd_(open_this_namespace(netns)) {}

netns_scope kept_netns::enter() const
{
    return netns_scope(fd_.get() < 0 ? "" : "/proc/self/fd/" + std::to_string(fd_.get()));
}

std::optional<std::string> read_proc_net(const std::string &name, std::size_t limit)
{
    const owned_fd file(open(("/proc/thread-self/net/" + name).c_str(), O_RDONLY | O_CLOEXEC));
    if (file.get() < 0 && errno == ENOENT) {
        return std::nullopt;
    }
    std::string text;
    std::array<char, 65536> part;
    ssize_t got = file.get();
    while (got >= 0 && text.size() < limit && (got = read(file.get(), part.data(), part.size())) > 0) {
        text.append(part.data(), static_cast<std::size_t>(got));
    }
    if (got < 0) {
        throw_errno(errno, "/proc/net/" + name);
    }
    return text;
}

} // namespace halfpoll
