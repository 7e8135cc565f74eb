// SPDX-License-Identifier: BSD-3-Clause
#include "config_tables.hpp"

#include <algorithm>

namespace halfpoll
{

namespace
{

/// The kind that a word probably stands for: one that it begins with ("nftables"), or the nearest; empty if none is.
std::string_view meant_by(std::string_view word)
{
    const std::vector<std::string_view> names(policy_kind_names.begin(), policy_kind_names.end());
    const auto longer = std::ranges::find_if(names, [&](std::string_view name) { return word.starts_with(name); });
    return longer != names.end() ? *longer : nearest(word, names);
}

/// Says what an element that names no kind should have been.
std::string instead_of(const toml::node &element)
{
    const auto word = element.value<std::string_view>();
    if (const std::string_view meant = word ? meant_by(*word) : ""; !meant.empty()) {
        return "did you mean \"" + std::string(meant) + "\"?";
    }
    std::string text;
    for (const std::string_view name : policy_kind_names) {
        text += (text.empty() ? "expected one of \"" : "\", \"") + std::string(name);
    }
    return text + "\"";
}

void read_obey(const toml::node &node, problem_list &problems, policy_set &obey)
{
    const toml::array *array = node.as_array();
    if (!array) {
        return problems.add(node, "obey: found " + describe(node) + ", expected an array of names");
    }
    policy_set wanted{};
    for (const toml::node &element : *array) {
        const auto name = element.value<std::string_view>();
        const auto known = std::ranges::find(policy_kind_names, name.value_or(""));
        if (known == policy_kind_names.end()) {
            problems.add(element, "obey: found " + describe(element) + ", " + instead_of(element));
        } else {
            wanted[static_cast<std::size_t>(known - policy_kind_names.begin())] = true;
        }
    }
    obey = wanted;
}

} // namespace

void read_forward(toml_reader &root, problem_list &problems, config &out)
{
    const toml::table *table = root.table("forward");
    if (!table) {
        return;
    }
    toml_reader reader(*table, "[forward]", problems);
    if (const toml::node *node = reader.get("obey")) {
        read_obey(*node, problems, out.obey);
    }
    reader.boolean("kernel_pass", out.kernel_pass);
    reader.refuse_unknown();
}

} // namespace halfpoll
