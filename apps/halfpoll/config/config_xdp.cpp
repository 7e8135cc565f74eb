// SPDX-License-Identifier: BSD-3-Clause
#include "config_tables.hpp"

#include <filesystem>

namespace halfpoll
{

namespace
{

void read_program(const std::string &name, const toml::table &table, problem_list &problems, config &out)
{
    toml_reader reader(table, "[xdp." + name + "]", problems);
    xdp_config program;
    program.name = name;
    if (name.find('/') != std::string::npos) {
        problems.add(table, "xdp: found \"" + name + "\", expected a name without '/'");
    }
    if (const toml::node *node = reader.required_string("file", program.file)) {
        std::filesystem::path path(program.file);
        if (path.is_relative()) { // relative to the configuration file
            path = std::filesystem::absolute(out.file).parent_path() / path;
        }
        program.file = path.lexically_normal();
        if (std::error_code ignored; !std::filesystem::is_regular_file(path, ignored)) {
            reader.problem(*node, "file", describe(*node), "a shared object that exists");
        }
    }
    reader.string("config", program.config);
    reader.refuse_unknown();
    out.xdp.push_back(std::move(program));
}

} // namespace

void read_xdp_programs(toml_reader &root, problem_list &problems, config &out)
{
    const toml::table *programs = root.table("xdp");
    if (!programs) {
        return;
    }
    for (const auto &[key, node] : *programs) {
        const std::string name(key.str());
        if (const toml::table *program = node.as_table()) {
            read_program(name, *program, problems, out);
        } else {
            problems.add(node, "xdp." + name + ": found " + describe(node) + ", expected a table, written [xdp." +
                                   name + "]");
        }
    }
}

} // namespace halfpoll
