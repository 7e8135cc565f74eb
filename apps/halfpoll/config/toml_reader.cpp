// SPDX-License-Identifier: BSD-3-Clause
#include "toml_reader.hpp"

#include <algorithm>
#include <numeric>
#include <set>
#include <sstream>

namespace halfpoll
{

namespace
{

std::string range(std::int64_t min, std::int64_t max)
{
    return "an integer from " + std::to_string(min) + " to " + std::to_string(max);
}

/// The Levenshtein distance.
std::size_t edit_distance(std::string_view a, std::string_view b)
{
    std::vector<std::size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), 0);
    for (std::size_t i = 1; i <= a.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t substitute = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            diagonal = row[j];
            row[j] = std::min({row[j] + 1, row[j - 1] + 1, substitute});
        }
    }
    return row.back();
}

} // namespace

std::string problem_list::to_string() const
{
    auto sorted = problems_;
    std::ranges::stable_sort(sorted, {}, &std::pair<unsigned, std::string>::first);
    std::string text;
    for (const auto &[line, what] : sorted) {
        text += (text.empty() ? "" : "\n") + file_ + ":" + std::to_string(line) + ": " + what;
    }
    return text;
}

std::string describe(const toml::node &node)
{
    if (node.is_table()) {
        return "a table";
    }
    if (node.is_array()) {
        return "an array";
    }
    std::ostringstream text;
    node.visit([&text](const auto &value) {
        if constexpr (toml::is_value<decltype(value)>) {
            text << value;
        }
    });
    const char *type = node.is_string()           ? "string"
                       : node.is_integer()        ? "integer"
                       : node.is_floating_point() ? "float"
                       : node.is_boolean()        ? "boolean"
                                                  : "date or time";
    const std::string quote = node.is_string() ? "\"" : "";
    const std::string raw = node.is_string() ? node.ref<std::string>() : text.str();
    return quote + raw + quote + " (" + type + ")";
}

std::string_view nearest(std::string_view word, const std::vector<std::string_view> &candidates)
{
    std::string_view best;
    std::size_t best_distance = std::max<std::size_t>(2, word.size() / 3) + 1;
    for (std::string_view candidate : candidates) {
        const std::size_t distance = edit_distance(word, candidate);
        if (distance < best_distance) {
            best = candidate;
            best_distance = distance;
        }
    }
    return best;
}

toml_reader::toml_reader(const toml::table &table, std::string name, problem_list &problems)
    : table_(table), name_(std::move(name)), problems_(problems)
{
}

void toml_reader::problem(const toml::node &where, const std::string &key, const std::string &found,
                          const std::string &expected)
{
    problems_.add(where, key + ": found " + found + ", expected " + expected);
}

const toml::node *toml_reader::get(std::string_view key)
{
    known_.push_back(key);
    return table_.get(key);
}

const toml::table *toml_reader::table(std::string_view key)
{
    const toml::node *node = get(key);
    if (node && !node->is_table()) {
        problem(*node, std::string(key), describe(*node), "a table, written [" + std::string(key) + "]");
        return nullptr;
    }
    return node ? node->as_table() : nullptr;
}

const toml::node *toml_reader::integer_in_range(std::string_view key, std::int64_t &value, std::int64_t min,
                                                std::int64_t max)
{
    const toml::node *node = get(key);
    if (!node) {
        return nullptr;
    }
    if (!node->is_integer() || **node->as_integer() < min || **node->as_integer() > max) {
        problem(*node, std::string(key), describe(*node), range(min, max));
        return nullptr;
    }
    value = **node->as_integer();
    return node;
}

const toml::node *toml_reader::boolean(std::string_view key, bool &value)
{
    const toml::node *node = get(key);
    if (node && !node->is_boolean()) {
        problem(*node, std::string(key), describe(*node), "true or false");
        return nullptr;
    }
    if (node) {
        value = **node->as_boolean();
    }
    return node;
}

const toml::node *toml_reader::string(std::string_view key, std::string &value)
{
    const toml::node *node = get(key);
    if (!node) {
        return nullptr;
    }
    if (!node->is_string() || (*node->as_string())->empty()) {
        problem(*node, std::string(key), describe(*node), "a string that is not empty");
        return nullptr;
    }
    value = **node->as_string();
    return node;
}

const toml::node *toml_reader::required_string(std::string_view key, std::string &value)
{
    const toml::node *node = string(key, value);
    if (!node && !table_.contains(key)) {
        problems_.add(line(), name_ + " has no " + std::string(key) + ", expected " + std::string(key) + " = \"...\"");
    }
    return node;
}

const toml::node *toml_reader::word_index(std::string_view key, std::size_t &index,
                                          const std::vector<std::string_view> &words, const std::string &expected)
{
    std::string text;
    const toml::node *node = string(key, text);
    if (!node) {
        return nullptr;
    }
    const auto found = std::ranges::find(words, text);
    if (found == words.end()) {
        problem(*node, std::string(key), describe(*node), expected);
        return nullptr;
    }
    index = static_cast<std::size_t>(found - words.begin());
    return node;
}

const toml::node *toml_reader::integers(std::string_view key, std::vector<unsigned> &values, std::int64_t min,
                                        std::int64_t max)
{
    const toml::node *node = get(key);
    if (!node) {
        return nullptr;
    }
    const toml::array *array = node->as_array();
    if (!array || array->empty()) {
        problem(*node, std::string(key), array ? "an empty array" : describe(*node), "an array of at least one number");
        return nullptr;
    }
    std::vector<unsigned> taken;
    for (const toml::node &element : *array) {
        const toml::value<std::int64_t> *number = element.as_integer();
        if (!number || **number < min || **number > max) {
            problem(element, std::string(key), describe(element), range(min, max));
            return nullptr;
        }
        taken.push_back(static_cast<unsigned>(**number));
    }
    if (std::set<unsigned>(taken.begin(), taken.end()).size() != taken.size()) {
        problem(*node, std::string(key), "a number twice", "each number once");
        return nullptr;
    }
    values = taken;
    return node;
}

const toml::node *toml_reader::integer_or_integers(std::string_view key, std::vector<unsigned> &values,
                                                   std::int64_t min, std::int64_t max)
{
    if (const toml::node *node = table_.get(key); node && node->is_array()) {
        return integers(key, values, min, max);
    }
    std::int64_t found = 0;
    const toml::node *node = integer_in_range(key, found, min, max);
    if (node) {
        values = {static_cast<unsigned>(found)};
    }
    return node;
}

void toml_reader::refuse_unknown()
{
    for (auto &&[key, node] : table_) {
        if (std::ranges::find(known_, key.str()) != known_.end()) {
            continue;
        }
        const std::string_view meant = nearest(key.str(), known_);
        std::string expected;
        for (std::string_view known : known_) {
            expected += (expected.empty() ? "one of " : ", ") + std::string(known);
        }
        problems_.add(key.source().begin.line,
                      "unknown key " + std::string(key.str()) + " in " + name_ + ", " +
                          (meant.empty() ? "expected " + expected : "did you mean " + std::string(meant) + "?"));
    }
}

} // namespace halfpoll
