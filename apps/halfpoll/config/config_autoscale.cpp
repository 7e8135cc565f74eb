// SPDX-License-Identifier: BSD-3-Clause
#include "config_tables.hpp"

namespace halfpoll
{

void read_autoscale(toml_reader &root, problem_list &problems, config &out)
{
    const toml::table *table = root.table("autoscale");
    if (!table) {
        return;
    }
    toml_reader reader(*table, "[autoscale]", problems);
    ktime_t target = 0, settle = out.autoscale.settle / NSEC_PER_MSEC;
    reader.integer("target_us", target, AUTOSCALE_TARGET_US);
    reader.integer("min_cpus", out.autoscale.min_cpus, 1, static_cast<std::int64_t>(out.cpus.size()));
    reader.integer("low_percent", out.autoscale.low_percent, AUTOSCALE_LOW_PERCENT);
    reader.integer("settle_ms", settle, AUTOSCALE_SETTLE_MS);
    out.autoscale.target = target * NSEC_PER_USEC;
    out.autoscale.settle = settle * NSEC_PER_MSEC;
    reader.refuse_unknown();
}

} // namespace halfpoll
