// SPDX-License-Identifier: BSD-3-Clause
#include <halfpoll/drop_reason.hpp>

namespace halfpoll
{

const char *to_string(drop_reason reason) noexcept
{
    switch (reason) {
    case DROP_DEV_READY:
        return "DEV_READY";
    case DROP_TX_FULL:
        return "TX_FULL";
    case DROP_TX_OVERSIZE:
        return "TX_OVERSIZE";
    case DROP_RECURSION_LIMIT:
        return "RECURSION_LIMIT";
    case DROP_HANDOVER_FULL:
        return "HANDOVER_FULL";
    case DROP_NO_HANDLER:
        return "NO_HANDLER";
    case DROP_NOMEM:
        return "NOMEM";
    case DROP_PUNT_POLICED:
        return "PUNT_POLICED";
    case DROP_PUNT_FULL:
        return "PUNT_FULL";
    case DROP_CPU_BACKLOG:
        return "CPU_BACKLOG";
    case DROP_XDP:
        return "XDP";
    case DROP_XDP_ABORTED:
        return "XDP_ABORTED";
    case DROP_XDP_REDIRECT:
        return "XDP_REDIRECT";
    case DROP_NETIO_MAX:
        break;
    }
    return "UNKNOWN";
}

} // namespace halfpoll
