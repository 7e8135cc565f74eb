// SPDX-License-Identifier: BSD-3-Clause
#include "serve.hpp"
#include "show_filter.hpp"

#include <halfpoll/xdp.hpp>
#include <halfpoll/xdp_map.hpp>

namespace halfpoll
{

namespace
{

using nlohmann::json;

json entry_row(router &r, const xdp_map &map, const xdp_map_entry &entry)
{
    json row = {{"map", map.name}, {"type", to_string(map.type)}, {"key", entry.key}};
    if (const net_device *dev = r.core().dev_get(entry.ifindex)) {
        row["to"] = dev->name;
    }
    if (map.type == xdp_map_type::cpumap) {
        row["to"] = "cpu " + std::to_string(entry.key);
        row["qsize"] = entry.qsize;
    }
    if (entry.prog) {
        row["program"] = entry.prog->name();
    }
    return row;
}

json map_row(const xdp_map &map)
{
    return {{"map", map.name},
            {"type", to_string(map.type)},
            {"max_entries", map.max_entries},
            {"entries", map.entries().size()}};
}

std::uint64_t number_of(const json &request, const char *key, std::uint64_t max)
{
    const json value = request.value(key, json());
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() > max) {
        throw error(std::string(key) + ": found " + value.dump(-1, ' ', false, json::error_handler_t::replace) +
                    ", expected a number from 0 to " + std::to_string(max));
    }
    return value.get<std::uint64_t>();
}

std::uint64_t flags_of(const json &request)
{
    const std::string word = value_or(request, "flags", std::string("any"));
    for (const auto &[name, flags] : {std::pair{"any", BPF_ANY}, {"noexist", BPF_NOEXIST}, {"exist", BPF_EXIST}}) {
        if (word == name) {
            return static_cast<std::uint64_t>(flags);
        }
    }
    throw error("flags: found \"" + word + R"(", expected "any", "noexist" or "exist")");
}

} // namespace

json show_xdp_map(router &r)
{
    json maps = json::array(), entries = json::array(), errors = json::array();
    for (const auto &map : xdp_maps(r.core())) {
        maps.push_back(map_row(*map));
        for (const xdp_map_entry &entry : map->entries()) {
            entries.push_back(entry_row(r, *map, entry));
        }
    }
    for (unsigned i = 0; i < static_cast<unsigned>(xdp_error::count); ++i) {
        const xdp_error err = static_cast<xdp_error>(i);
        errors.push_back({{"error", to_string(err)}, {"packets", xdp_redirect_errors(r.core(), err)}});
    }
    return {{"xdp_maps", maps}, {"xdp_map_entries", entries}, {"xdp_redirect_errors", errors}};
}

json serve_xdp_map(router &r, const std::string &what, const json &request)
{
    const std::string name = value_or(request, "map", std::string());
    const std::shared_ptr<xdp_map> map = xdp_map_find(r.core(), name);
    if (!map) {
        throw error("no XDP map \"" + name + "\" (halfpoll xdp map show)");
    }
    const auto key = static_cast<std::uint32_t>(number_of(request, "key", UINT32_MAX));
    if (what == "delete") {
        if (!map->erase(key)) {
            throw error("XDP map " + name + ": key " + std::to_string(key) + " has no entry");
        }
    } else if (what == "update") {
        xdp_map_entry_config entry{.key = key};
        entry.port = value_or(request, "port", std::string());
        entry.xdp = value_or(request, "program", std::string());
        entry.qsize = request.contains("qsize") ? static_cast<unsigned>(number_of(request, "qsize", UINT32_MAX)) : 512;
        r.update_xdp_map(*map, entry, flags_of(request));
    } else {
        throw error("bad request: an entry of an XDP map is \"update\"d or \"delete\"d, not \"" + what + "\"");
    }
    return {{"changed", name}};
}

} // namespace halfpoll
