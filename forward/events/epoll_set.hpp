// SPDX-License-Identifier: BSD-3-Clause
#pragma once

namespace halfpoll
{

/// A file descriptor that is closed with this object.
class owned_fd
{
public:
    explicit owned_fd(int fd) noexcept : fd_(fd) {}
    ~owned_fd();
    owned_fd(const owned_fd &) = delete;
    owned_fd &operator=(const owned_fd &) = delete;
    int get() const noexcept { return fd_; }

private:
    const int fd_;
};

/// One fd that is readable while one of several others is.
class epoll_set
{
public:
    epoll_set();
    int fd() const noexcept { return fd_.get(); }
    /// Adds an fd, which leaves the set when it is closed. Throws `error`, also if `fd` is negative (errno says why).
    void watch(int fd) const;

private:
    owned_fd fd_;
};

} // namespace halfpoll
