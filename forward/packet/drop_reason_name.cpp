// SPDX-License-Identifier: BSD-3-Clause
#include "forwarder.hpp"

namespace halfpoll
{

const char *drop_reason_name(unsigned reason) noexcept
{
    static constexpr const char *names[] = {
        "OTHERHOST", "FRAME_SHORT", "IP_VERSION",   "IP_LENGTH",      "IP_CSUM",        "IP_SRC", "IP_DST",
        "BLACKHOLE", "NO_SHADOW",   "REVERSE_PATH", "NOT_FORWARDING", "INTERFACE_DOWN", "VLAN"};
    static_assert(std::size(names) == unsigned{DROP_FORWARD_MAX} - unsigned{DROP_NETIO_MAX});
    if (reason < DROP_NETIO_MAX) {
        return to_string(static_cast<drop_reason>(reason));
    }
    return reason < DROP_FORWARD_MAX ? names[reason - unsigned{DROP_NETIO_MAX}] : nullptr;
}

} // namespace halfpoll
