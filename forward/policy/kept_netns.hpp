// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "forward/events/epoll_set.hpp"

#include <halfpoll/netns.hpp>

#include <optional>
#include <string>

namespace halfpoll
{

/// A network namespace that can be entered again, even if its name is then another one's.
class kept_netns
{
public:
    /// `netns`: as for netns_scope. Throws `error`.
    explicit kept_netns(const std::string &netns);
    /// Throws `error`.
    netns_scope enter() const;

private:
    owned_fd fd_; ///< negative: the namespace of the process
};

/// The contents of /proc/net/NAME in the namespace in which the calling thread is, at most about `limit` bytes; none if
/// the kernel has no such file. Throws `error`.
std::optional<std::string> read_proc_net(const std::string &name, std::size_t limit);

} // namespace halfpoll
