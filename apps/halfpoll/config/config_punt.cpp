// SPDX-License-Identifier: BSD-3-Clause
#include "config_tables.hpp"

namespace halfpoll
{

void read_punt(toml_reader &root, problem_list &problems, config &out)
{
    const toml::table *table = root.table("punt");
    if (!table) {
        return;
    }
    toml_reader classes(*table, "[punt]", problems);
    for (unsigned c = 0; c < PUNT_CLASSES; ++c) {
        const std::string name = to_string(static_cast<punt_class>(c));
        const toml::table *limits = classes.table(to_string(static_cast<punt_class>(c)));
        if (limits) {
            toml_reader reader(*limits, "[punt." + name + "]", problems);
            reader.integer("rate", out.punt[c].packets_per_second, PUNT_RATE);
            reader.integer("burst", out.punt[c].burst, PUNT_BURST);
            reader.refuse_unknown();
        }
    }
    classes.refuse_unknown();
}

} // namespace halfpoll
