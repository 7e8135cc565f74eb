// SPDX-License-Identifier: BSD-3-Clause
#include "commands.hpp"
#include "control_client.hpp"
#include "render.hpp"

#include <CLI/CLI.hpp>

#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>

namespace halfpoll
{

namespace
{

using nlohmann::json;

struct xdp_arguments {
    std::string port, program;
    std::optional<std::string> config;
    std::optional<unsigned> queue;
    bool json_output = false;
};

int change(const command_line &line, const std::string &what, const xdp_arguments &args)
{
    json request = {{"xdp", what}, {"port", args.port}};
    if (args.queue) {
        request["queue"] = *args.queue;
    }
    if (args.config) {
        request["config"] = *args.config;
    }
    if (what == "attach") { // the running program has a different working directory
        const bool is_path = args.program.find('/') != std::string::npos;
        request["program"] =
            is_path ? std::filesystem::absolute(args.program).lexically_normal().string() : args.program;
    }
    control_request(line.control, request);
    return 0;
}

int show(const command_line &line, const xdp_arguments &args)
{
    const json reply = control_request(line.control, {{"show", "xdp"}});
    std::cout << (args.json_output ? reply.dump(2) + "\n" : render(reply));
    return 0;
}

/// Adds a subcommand with PORT and --queue.
CLI::App *add_change(CLI::App &xdp, command_line &line, const std::shared_ptr<xdp_arguments> &args, const char *what,
                     const char *help)
{
    CLI::App *command = xdp.add_subcommand(what, help);
    command->add_option("PORT", args->port, "Port (halfpoll show interfaces)")->required();
    command->add_option("--queue", args->queue, "Only this rx queue");
    add_control(*command, line);
    command->callback([&line, args, name = std::string(what)] {
        line.run = [&line, args, name] { return change(line, name, *args); };
    });
    return command;
}

} // namespace

void add_xdp(CLI::App &app, command_line &line)
{
    CLI::App *xdp = app.add_subcommand("xdp", "XDP programs: what looks at received packets first");
    xdp->require_subcommand(1);
    auto args = std::make_shared<xdp_arguments>();
    CLI::App *attach = add_change(*xdp, line, args, "attach",
                                  "Attach a program to a port, in place of the one that is there, until a reload");
    attach->add_option("PROGRAM", args->program, "NAME of an [xdp.NAME] in the configuration, or a path")->required();
    attach->add_option("--config", args->config, "Text for the program, instead of the configuration's");
    add_change(*xdp, line, args, "detach", "Let packets pass without a program, until a reload");
    CLI::App *show_app = xdp->add_subcommand("show", "Programs, and what became of packets; also halfpoll show xdp");
    show_app->add_flag("--json", args->json_output, "JSON instead of tables");
    add_control(*show_app, line);
    show_app->callback([&line, args] { line.run = [&line, args] { return show(line, *args); }; });
    add_xdp_map(*xdp, line);
}

} // namespace halfpoll
