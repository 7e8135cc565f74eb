// SPDX-License-Identifier: BSD-3-Clause
#include "config_tables.hpp"
#include "irq_threads.hpp"

#include <algorithm>
#include <climits>

namespace halfpoll
{

namespace
{

class map_parser
{
public:
    map_parser(problem_list &problems, const config &cfg) : problems_(problems), cfg_(cfg) {}
    xdp_map_config read(const std::string &name, const toml::table &table);

private:
    void read_type(toml_reader &reader);
    void read_entry(const toml::table &table);
    void read_device(toml_reader &reader, xdp_map_entry_config &entry);
    bool leads_to_cpus() const { return map_.type == xdp_map_type::cpumap; }

    problem_list &problems_;
    const config &cfg_;
    xdp_map_config map_;
};

xdp_map_config map_parser::read(const std::string &name, const toml::table &table)
{
    toml_reader reader(table, "[xdp_map." + name + "]", problems_);
    map_.name = name;
    read_type(reader);
    reader.integer("max_entries", map_.max_entries, 1, XDP_MAP_MAX_ENTRIES);
    if (const toml::node *entries = reader.get("entries")) {
        const toml::array *array = entries->as_array();
        if (!array || (!array->empty() && !array->is_homogeneous(toml::node_type::table))) {
            reader.problem(*entries, "entries", describe(*entries), "tables, each as { key = 1, … }");
        } else {
            for (const toml::node &entry : *array) {
                read_entry(*entry.as_table());
            }
        }
    }
    reader.refuse_unknown();
    return map_;
}

void map_parser::read_type(toml_reader &reader)
{
    std::string word;
    const toml::node *node = reader.required_string("type", word);
    for (const xdp_map_type type :
         {xdp_map_type::devmap, xdp_map_type::devmap_hash, xdp_map_type::cpumap, xdp_map_type::xskmap}) {
        if (word == to_string(type)) {
            map_.type = type;
            return;
        }
    }
    if (node) {
        reader.problem(*node, "type", describe(*node), R"("devmap", "devmap_hash", "cpumap" or "xskmap")");
    }
}

void map_parser::read_entry(const toml::table &table)
{
    toml_reader reader(table, "an entry of [xdp_map." + map_.name + "]", problems_);
    xdp_map_entry_config entry;
    if (!reader.get("key")) {
        problems_.add(table, "key: missing in an entry of [xdp_map." + map_.name + "]");
    }
    const std::size_t cpus = cfg_.cpus.size() + irq_threads(cfg_).size();
    const std::int64_t last_key = leads_to_cpus() ? static_cast<std::int64_t>(cpus) - 1 : std::int64_t{UINT32_MAX};
    reader.integer("key", entry.key, 0, last_key);
    if (leads_to_cpus()) {
        entry.qsize = 512;
        reader.integer("qsize", entry.qsize, 1, CPUMAP_MAX_QSIZE);
    } else {
        read_device(reader, entry);
    }
    if (map_.type != xdp_map_type::xskmap) {
        const toml::node *node = reader.string("xdp", entry.xdp);
        if (node && !std::ranges::count(cfg_.xdp, entry.xdp, &xdp_config::name)) {
            reader.problem(*node, "xdp", describe(*node), "the NAME of an [xdp.NAME]");
        }
    }
    reader.refuse_unknown();
    map_.entries.push_back(std::move(entry));
}

void map_parser::read_device(toml_reader &reader, xdp_map_entry_config &entry)
{
    const toml::node *node = reader.required_string("port", entry.port);
    const auto named = [&](const port_config &port) { return port.options.name == entry.port; };
    if (node && std::ranges::none_of(cfg_.ports, named)) {
        reader.problem(*node, "port", describe(*node), "the name of a [[port]]");
    }
}

} // namespace

void read_xdp_maps(toml_reader &root, problem_list &problems, config &out)
{
    const toml::table *maps = root.table("xdp_map");
    if (!maps) {
        return;
    }
    for (const auto &[key, node] : *maps) {
        const std::string name(key.str());
        if (const toml::table *table = node.as_table()) {
            out.xdp_maps.push_back(map_parser(problems, out).read(name, *table));
        } else {
            problems.add(node, "xdp_map." + name + ": found " + describe(node) +
                                   ", expected a table, written [xdp_map." + name + "]");
        }
    }
}

} // namespace halfpoll
