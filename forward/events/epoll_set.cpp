// SPDX-License-Identifier: BSD-3-Clause
#include "epoll_set.hpp"

#include <halfpoll/error.hpp>

#include <cerrno>
#include <sys/epoll.h>
#include <unistd.h>

namespace halfpoll
{

owned_fd::~owned_fd()
{
    if (fd_ >= 0) {
        close(fd_);
    }
}

epoll_set::epoll_set() : fd_(epoll_create1(EPOLL_CLOEXEC))
{
    if (fd() < 0) {
        throw_errno(errno, "forward: epoll");
    }
}

void epoll_set::watch(int fd) const
{
    epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
    if (fd < 0 || epoll_ctl(fd_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
        throw_errno(errno, "forward: epoll");
    }
}

} // namespace halfpoll
