// SPDX-License-Identifier: BSD-3-Clause
#include "serve.hpp"

namespace halfpoll
{

using nlohmann::json;

json show_drops(router &r, bool all)
{
    json rows = json::array();
    for (unsigned reason = 0; reason < DROP_REASONS; ++reason) {
        const char *name = drop_reason_name(reason);
        const std::uint64_t count = r.core().drops(reason);
        if (name && (all || count > 0)) {
            rows.push_back({{"reason", name}, {"count", count}});
        }
    }
    return {{"drops", rows}};
}

json show_punt(router &r)
{
    json classes = json::array();
    for (unsigned c = 0; c < PUNT_CLASSES; ++c) {
        const auto punt = static_cast<punt_class>(c);
        classes.push_back({{"class", to_string(punt)},
                           {"punted", r.slow().punted(punt)},
                           {"policed", r.slow().policed(punt)},
                           {"rate", r.cfg().punt[c].packets_per_second},
                           {"burst", r.cfg().punt[c].burst}});
    }
    json shadows = json::array();
    for (const shadow *s : r.slow().shadows()) {
        const shadow_counts counts = s->counts();
        shadows.push_back({{"shadow", s->name},
                           {"interface", s->dev->name},
                           {"to_kernel", counts.to_kernel},
                           {"to_kernel_drops", counts.to_kernel_drops},
                           {"from_kernel", counts.from_kernel},
                           {"from_kernel_drops", counts.from_kernel_drops}});
    }
    return {{"punt", classes}, {"shadows", shadows}};
}

} // namespace halfpoll
