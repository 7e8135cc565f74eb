// SPDX-License-Identifier: BSD-3-Clause
#include "cpu_list.hpp"
#include "toml_reader.hpp"

#include <charconv>
#include <set>

namespace halfpoll
{

namespace
{

using cpu_set = std::set<unsigned>;

bool read_number(std::string_view text, unsigned &number)
{
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
    return failure == std::errc{} && end == text.data() + text.size();
}

/// Adds "4" or "0-2" to `found`.
bool add_range(std::string_view text, unsigned cpus, cpu_set &found)
{
    const std::size_t dash = text.find('-');
    unsigned first = 0, last = 0;
    const bool numbers = read_number(text.substr(0, dash), first) &&
                         read_number(dash == std::string_view::npos ? text : text.substr(dash + 1), last);
    if (!numbers || first > last || last >= cpus) {
        return false;
    }
    for (unsigned cpu = first; cpu <= last; ++cpu) {
        found.insert(cpu);
    }
    return true;
}

bool read_list(std::string_view text, unsigned cpus, cpu_set &found)
{
    while (!text.empty()) {
        const std::size_t comma = text.find(',');
        if (!add_range(text.substr(0, comma), cpus, found)) {
            return false;
        }
        if (comma == std::string_view::npos) {
            return true;
        }
        text.remove_prefix(comma + 1);
        if (text.empty()) {
            return false; // ends with a comma
        }
    }
    return true;
}

/// Reads hexadecimal digits without 0x. Their number is not limited: there may be more than 64 CPUs.
bool read_mask(std::string_view digits, unsigned cpus, cpu_set &found)
{
    for (unsigned first = 0; !digits.empty(); first += 4, digits.remove_suffix(1)) {
        unsigned nibble = 0;
        const char *digit = &digits.back();
        if (std::from_chars(digit, digit + 1, nibble, 16).ptr != digit + 1) {
            return false;
        }
        for (unsigned bit = 0; bit < 4; ++bit) {
            if (nibble >> bit & 1) {
                found.insert(first + bit);
            }
        }
    }
    return found.empty() || *found.rbegin() < cpus;
}

} // namespace

std::optional<std::vector<unsigned>> parse_cpu_list(std::string_view text, unsigned cpus)
{
    cpu_set found;
    const bool mask = text.size() > 2 && text.starts_with("0x");
    if (mask ? read_mask(text.substr(2), cpus, found) : read_list(text, cpus, found)) {
        return std::vector<unsigned>(found.begin(), found.end());
    }
    return std::nullopt;
}

std::string cpu_list_expected(unsigned cpus)
{
    return "runtime CPUs from 0 to " + std::to_string(cpus - 1) + ", as a list (\"0-2,4\") or a mask (\"0x17\")";
}

void read_cpu_list(toml_reader &reader, const char *key, unsigned cpus, std::vector<unsigned> &list)
{
    const toml::node *node = reader.get(key);
    if (!node) {
        return;
    }
    std::string text;
    if (const toml::array *array = node->as_array()) {
        for (const toml::node &element : *array) {
            text += (text.empty() ? "" : ",") + (element.is_integer() ? std::to_string(**element.as_integer()) : "?");
        }
    } else {
        text = node->value_or(std::string("?"));
    }
    if (const auto found = parse_cpu_list(text, cpus)) {
        list = *found;
    } else {
        reader.problem(*node, key, describe(*node), cpu_list_expected(cpus));
    }
}

} // namespace halfpoll
