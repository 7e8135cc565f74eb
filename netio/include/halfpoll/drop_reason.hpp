// SPDX-License-Identifier: BSD-3-Clause
#pragma once

namespace halfpoll
{

/// Why netio dropped a packet: the kernel's skb drop reasons where one fits. An application numbers its own reasons
/// from DROP_NETIO_MAX on.
enum drop_reason : unsigned {
    DROP_DEV_READY,       ///< egress device is down or has no carrier, or the port has no shadow
    DROP_TX_FULL,         ///< egress ring stayed full until the retries ended
    DROP_TX_OVERSIZE,     ///< longer than the egress device takes
    DROP_RECURSION_LIMIT, ///< more than 8 nested transmits, or a transmit from inside the same device's driver
    DROP_HANDOVER_FULL,   ///< ring to another CPU is full
    DROP_NO_HANDLER,      ///< no receive handler installed
    DROP_NOMEM,           ///< no buffer for a copy
    DROP_PUNT_POLICED,    ///< punt class is over its rate
    DROP_PUNT_FULL,       ///< ring to the slow path is full
    DROP_CPU_BACKLOG,     ///< target CPU's backlog is over netdev_max_backlog, or the flow is over its share of it
    DROP_XDP,             ///< an XDP program dropped the packet
    DROP_XDP_ABORTED,     ///< an XDP program failed on the packet, or gave no valid answer
    DROP_XDP_REDIRECT,    ///< the target of an XDP redirect did not take the packet (also counted by xdp_error)
    DROP_NETIO_MAX
};

/// The names that `show drops` prints.
const char *to_string(drop_reason reason) noexcept;

/// Size of the counter arrays: netio's reasons and the application's are below it.
inline constexpr unsigned DROP_REASONS = 64;

} // namespace halfpoll
