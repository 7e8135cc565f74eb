// SPDX-License-Identifier: BSD-3-Clause
#include "commands.hpp"
#include "control_client.hpp"
#include "render.hpp"

#include <CLI/CLI.hpp>

#include <iostream>
#include <memory>
#include <optional>

namespace halfpoll
{

namespace
{

using nlohmann::json;

struct map_arguments {
    std::string map, flags = "any";
    std::uint32_t key = 0;
    std::optional<std::string> port, program;
    std::optional<unsigned> qsize;
    bool json_output = false;
};

int change(const command_line &line, const std::string &what, const map_arguments &args)
{
    json request = {{"xdp_map", what}, {"map", args.map}, {"key", args.key}};
    if (what == "update") {
        request["flags"] = args.flags;
    }
    if (args.port) {
        request["port"] = *args.port;
    }
    if (args.program) {
        request["program"] = *args.program;
    }
    if (args.qsize) {
        request["qsize"] = *args.qsize;
    }
    control_request(line.control, request);
    return 0;
}

int show(const command_line &line, const map_arguments &args)
{
    const json reply = control_request(line.control, {{"show", "xdp_map"}});
    std::cout << (args.json_output ? reply.dump(2) + "\n" : render(reply));
    return 0;
}

CLI::App *add_change(CLI::App &map, command_line &line, const std::shared_ptr<map_arguments> &args, const char *what,
                     const char *help)
{
    CLI::App *command = map.add_subcommand(what, help);
    command->add_option("MAP", args->map, "NAME of an [xdp_map.NAME]")->required();
    command->add_option("KEY", args->key, "Key of the entry; in a cpumap a runtime CPU")->required();
    add_control(*command, line);
    command->callback([&line, args, name = std::string(what)] {
        line.run = [&line, args, name] { return change(line, name, *args); };
    });
    return command;
}

} // namespace

void add_xdp_map(CLI::App &xdp, command_line &line)
{
    CLI::App *map = xdp.add_subcommand("map", "Redirect maps: where programs send packets");
    map->require_subcommand(1);
    auto args = std::make_shared<map_arguments>();
    CLI::App *show_app = map->add_subcommand("show", "Maps, their entries, and what redirects failed with");
    show_app->add_flag("--json", args->json_output, "JSON instead of tables");
    add_control(*show_app, line);
    show_app->callback([&line, args] { line.run = [&line, args] { return show(line, *args); }; });
    CLI::App *update = add_change(*map, line, args, "update", "Set an entry, until halfpoll ends");
    update->add_option("--port", args->port, "Port that it leads to (devmap, devmap_hash, xskmap)");
    update->add_option("--qsize", args->qsize, "Packets that may wait (cpumap); 0 deletes the entry. Default 512");
    update->add_option("--program", args->program, "NAME of an [xdp.NAME] that sees what takes this way");
    update
        ->add_option("--flags", args->flags, "\"noexist\": only if there is no such entry; \"exist\": only if there is")
        ->check(CLI::IsMember({"any", "noexist", "exist"}));
    add_change(*map, line, args, "delete", "Delete an entry, until halfpoll ends");
}

} // namespace halfpoll
