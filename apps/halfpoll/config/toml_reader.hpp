// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <toml++/toml.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace halfpoll
{

/// Collects all mistakes of one configuration file, each with its line, so that one run shows them all.
class problem_list
{
public:
    explicit problem_list(std::string file) : file_(std::move(file)) {}
    void add(unsigned line, std::string text) { problems_.emplace_back(line, std::move(text)); }
    void add(const toml::node &where, std::string text) { add(where.source().begin.line, std::move(text)); }
    bool empty() const noexcept { return problems_.empty(); }
    /// Returns one line for each, "file:line: text", in the order of the file.
    std::string to_string() const;

private:
    std::string file_;
    std::vector<std::pair<unsigned, std::string>> problems_;
};

/// Formats a value for a message: `"eth0" (string)`, `7 (integer)`, `an array`.
std::string describe(const toml::node &node);

/// Returns the candidate that `word` is probably a misspelling of; empty if none is close.
std::string_view nearest(std::string_view word, const std::vector<std::string_view> &candidates);

/// Reads one table key by key; refuse_unknown() then reports the keys that were not read. A key that is absent or wrong
/// leaves the destination, which holds the default. The getters return the key's node if its value was taken, else
/// null.
class toml_reader
{
public:
    /// `name`: the table as it is written, "[runtime]".
    toml_reader(const toml::table &table, std::string name, problem_list &problems);

    /// Returns the node of a key, or null if it is absent; marks the key as known.
    const toml::node *get(std::string_view key);
    /// Returns the sub-table of a key. Returns null if it is absent, or if it is not a table, which is a problem.
    const toml::table *table(std::string_view key);
    template <typename T>
    const toml::node *integer(std::string_view key, T &value, std::int64_t min, std::int64_t max)
    {
        std::int64_t found = 0;
        const toml::node *node = integer_in_range(key, found, min, max);
        if (node) {
            value = static_cast<T>(found);
        }
        return node;
    }
    template <typename T, typename Range>
    const toml::node *integer(std::string_view key, T &value, const Range &range)
    {
        return integer(key, value, range.min, range.max);
    }
    const toml::node *boolean(std::string_view key, bool &value);
    const toml::node *string(std::string_view key, std::string &value);
    const toml::node *required_string(std::string_view key, std::string &value);
    /// Reads one of several words; `value` becomes its index in `words`.
    template <typename T>
    const toml::node *word(std::string_view key, T &value, const std::vector<std::string_view> &words,
                           const std::string &expected)
    {
        std::size_t found = 0;
        const toml::node *node = word_index(key, found, words, expected);
        if (node) {
            value = static_cast<T>(found);
        }
        return node;
    }
    /// Reads a non-empty array of different integers from min to max.
    const toml::node *integers(std::string_view key, std::vector<unsigned> &values, std::int64_t min, std::int64_t max);
    /// The same, or a single integer, which is not in an array.
    const toml::node *integer_or_integers(std::string_view key, std::vector<unsigned> &values, std::int64_t min,
                                          std::int64_t max);
    /// Reports the keys that no getter has read.
    void refuse_unknown();

    void problem(const toml::node &where, const std::string &key, const std::string &found,
                 const std::string &expected);
    unsigned line() const noexcept { return table_.source().begin.line; }

private:
    const toml::node *integer_in_range(std::string_view key, std::int64_t &value, std::int64_t min, std::int64_t max);
    const toml::node *word_index(std::string_view key, std::size_t &index, const std::vector<std::string_view> &words,
                                 const std::string &expected);

    const toml::table &table_;
    std::string name_;
    problem_list &problems_;
    std::vector<std::string_view> known_;
};

} // namespace halfpoll
