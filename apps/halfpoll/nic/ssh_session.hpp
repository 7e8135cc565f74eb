// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "apps/halfpoll/host/host.hpp"

namespace halfpoll
{

/// Somebody who is logged in over the network.
struct ssh_session {
    std::string peer;  ///< address
    std::string local; ///< address of this machine that the session runs to

    bool operator==(const ssh_session &) const = default;
};

/// The session of this process (SSH_CONNECTION), the established connections of every process called sshd, and those of
/// the local port 22. Needs root to see the sockets of others.
std::vector<ssh_session> ssh_sessions(const host &on);

} // namespace halfpoll
