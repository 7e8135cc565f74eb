// SPDX-License-Identifier: BSD-3-Clause
#pragma once

namespace halfpoll
{

/// Why a packet was dropped by netio; applications number their own from DROP_NETIO_MAX on. The kernel's skb drop
/// reasons where one fits.
enum drop_reason : unsigned {
    DROP_DEV_READY,       ///< egress device is down or has no carrier
    DROP_TX_FULL,         ///< egress ring stayed full until the retry ran out
    DROP_TX_OVERSIZE,     ///< longer than the egress device takes
    DROP_RECURSION_LIMIT, ///< more than 8 nested transmits
    DROP_HANDOVER_FULL,   ///< ring to another CPU or thread is full
    DROP_NO_HANDLER,      ///< no receive handler installed
    DROP_NOMEM,           ///< no buffer for a copy
    DROP_PUNT_POLICED,    ///< punt class over its rate
    DROP_PUNT_FULL,       ///< ring to the slow path full
    DROP_CPU_BACKLOG,     ///< backlog of the target CPU over netdev_max_backlog, or over a flow's share of it
    DROP_XDP,             ///< an XDP program said so
    DROP_XDP_ABORTED,     ///< an XDP program failed on it, or gave no valid answer
    DROP_XDP_REDIRECT,    ///< where an XDP program redirected it to did not take it (counted there, too, by error)
    DROP_NETIO_MAX
};

/// Names as `show drops` prints them.
const char *to_string(drop_reason reason) noexcept;

/// Room for an application's own reasons.
inline constexpr unsigned DROP_REASONS = 64;

} // namespace halfpoll
