// SPDX-License-Identifier: BSD-3-Clause
#include "config_tables.hpp"

#include <algorithm>

namespace halfpoll
{

void read_log(toml_reader &root, problem_list &problems, config &out)
{
    const toml::table *table = root.table("log");
    if (!table) {
        return;
    }
    toml_reader reader(*table, "[log]", problems);
    reader.word("level", out.log.level, log_level_names(), "\"debug\", \"info\", \"warning\" or \"error\"");
    const toml::node *target = reader.string("target", out.log.target);
    const std::vector<std::string_view> words = {"auto", "stderr", "journal"};
    if (target && !out.log.target.starts_with('/') && !std::ranges::count(words, out.log.target)) {
        reader.problem(*target, "target", describe(*target),
                       "\"auto\", \"stderr\", \"journal\" or the absolute path of a file");
    }
    reader.refuse_unknown();
}

} // namespace halfpoll
