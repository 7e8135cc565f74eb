// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "apps/halfpoll/host/host.hpp"

namespace halfpoll
{

/// A login session over SSH.
struct ssh_session {
    std::string peer;  ///< address
    std::string local; ///< address of this machine that the peer is connected to

    bool operator==(const ssh_session &) const = default;
};

/// Returns the session of this process (SSH_CONNECTION), the established connections of all processes named sshd, and
/// all established connections to local port 22. Needs root to see the sockets of other users.
std::vector<ssh_session> ssh_sessions(const host &on);

} // namespace halfpoll
