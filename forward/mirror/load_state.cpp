// SPDX-License-Identifier: BSD-3-Clause
#include "load_state.hpp"

namespace halfpoll
{

bool load_state::is_newest(const netlink_socket &socket, const nlmsghdr &message, const ip_prefix &prefix,
                           std::int64_t number)
{
    if (!loading()) {
        return true;
    }
    const message_subject subject{message.nlmsg_type & ~3, prefix, number};
    if (!socket.is_reply(message)) {
        load.touched[subject] = socket.reads();
        return true;
    }
    const auto touched = load.touched.find(subject);
    return touched == load.touched.end() || touched->second <= socket.part();
}

} // namespace halfpoll
