// SPDX-License-Identifier: BSD-3-Clause
#include "apps/halfpoll/client/commands.hpp"
#include "apps/halfpoll/config/config.hpp"
#include "apps/halfpoll/doctor/machine_commands.hpp"
#include "apps/halfpoll/doctor/probe.hpp"
#include "run.hpp"

#include <CLI/CLI.hpp>

#include <iostream>

namespace
{

using namespace halfpoll;

int run_command(const std::string &file)
{
    const config cfg = load_config(file);
    const std::vector<finding> missing = probe_machine(cfg, host(), {severity::stops, false});
    for (const finding &each : missing) {
        std::cerr << each.text() << "\n";
    }
    if (!missing.empty()) {
        return 1;
    }
    run(cfg);
    return 0;
}

} // namespace

int main(int argc, char **argv)
{
    command_line line;
    std::string file;
    CLI::App app(
        "A packet forwarder that polls only while there is work. The kernel is its control plane and slow path: "
        "configure the shadow interfaces with `ip`.");
    app.set_version_flag("--version", "halfpoll " HALFPOLL_VERSION);
    app.require_subcommand(1);
    CLI::App *run_app = app.add_subcommand("run", "Forward, until SIGTERM or `halfpoll stop`");
    run_app->add_option("CONFIG", file, "Configuration file (TOML)")->required();
    run_app->callback([&] { line.run = [&file] { return run_command(file); }; });
    add_machine_commands(app, line.run);
    add_show(app, line);
    add_set(app, line);
    add_reload(app, line);
    add_cpu(app, line);
    add_xdp(app, line);
    add_trace(app, line);
    add_stop(app, line);
    add_names(app, line);
    CLI11_PARSE(app, argc, argv);
    try {
        return line.run();
    } catch (const std::exception &e) {
        std::cout << std::flush; // output that is already there precedes the error
        std::cerr << e.what() << "\n";
        return 1;
    }
}
