// SPDX-License-Identifier: BSD-3-Clause
#include "config.hpp"
#include "control_client.hpp"
#include "machine_commands.hpp"
#include "probe.hpp"
#include "render.hpp"
#include "run.hpp"

#include <CLI/CLI.hpp>

#include <iostream>

namespace
{

using namespace halfpoll;
using nlohmann::json;

struct arguments {
    std::string config;
    std::string control = "/run/halfpoll.sock";
    std::string what;
    std::string to;
    std::size_t limit = 10'000;
    bool all = false;
    bool json_output = false;
    std::string name;
    std::vector<std::string> settings;
};

int run_command(const arguments &args)
{
    const config cfg = load_config(args.config);
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

int show_command(const arguments &args)
{
    json request = {{"show", args.what}, {"all", args.all}, {"limit", args.limit}};
    if (!args.to.empty()) {
        request["to"] = args.to;
    }
    const json reply = control_request(args.control, request);
    if (args.json_output) {
        std::cout << (reply.size() == 1 ? reply.front() : reply).dump(2) << "\n";
    } else {
        std::cout << render(reply);
    }
    return 0;
}

/// "key=value"; a value that is no number is a string.
json settings_of(const std::vector<std::string> &settings)
{
    json values = json::object();
    for (const std::string &setting : settings) {
        const std::size_t equals = setting.find('=');
        if (equals == std::string::npos || equals == 0) {
            throw error("found \"" + setting + "\", expected key=value");
        }
        const std::string value = setting.substr(equals + 1);
        const json number = json::parse(value, nullptr, false);
        values[setting.substr(0, equals)] = number.is_number() ? number : json(value);
    }
    return values;
}

int set_napi_command(const arguments &args)
{
    control_request(args.control, {{"set", "napi"}, {"name", args.name}, {"values", settings_of(args.settings)}});
    return 0;
}

int stop_command(const arguments &args)
{
    control_stop(args.control);
    return 0;
}

void add_control(CLI::App &command, arguments &args)
{
    command.add_option("--control", args.control, "Control socket of the running halfpoll")->capture_default_str();
}

void add_show(CLI::App &app, arguments &args)
{
    CLI::App *show = app.add_subcommand("show", "Print what a running halfpoll sees and counts");
    show->add_option("WHAT", args.what, "What to print")
        ->required()
        ->check(
            CLI::IsMember({"status", "interfaces", "napi", "fib", "route", "drops", "punt", "softirqs", "softnet"}));
    show->add_option("ADDRESS", args.to, "route: the destination to look up");
    show->add_flag("--json", args.json_output, "JSON instead of tables");
    show->add_flag("--all", args.all, "drops: also those that never happened");
    show->add_option("--limit", args.limit, "fib: at most so many prefixes of each family")->capture_default_str();
    add_control(*show, args);
}

void add_set(CLI::App &app, arguments &args)
{
    CLI::App *set = app.add_subcommand("set", "Change settings of a running halfpoll, until it ends");
    set->require_subcommand(1);
    CLI::App *napi = set->add_subcommand("napi", "Settings of a NAPI instance, or of all of an interface");
    napi->add_option("NAME", args.name, "Instance or interface (halfpoll show napi)")->required();
    napi->add_option("SETTING", args.settings,
                     "napi_defer_hard_irqs=N gro_flush_timeout=NS irq_suspend_timeout=NS busy_poll=US|adaptive")
        ->required();
    add_control(*napi, args);
}

int dispatch(const CLI::App &app, const arguments &args)
{
    const std::string command = app.get_subcommands().front()->get_name();
    if (command == "run") {
        return run_command(args);
    }
    if (command == "show") {
        return show_command(args);
    }
    return command == "set" ? set_napi_command(args) : stop_command(args);
}

} // namespace

int main(int argc, char **argv)
{
    arguments args;
    CLI::App app(
        "A packet forwarder that polls only while there is work. The kernel is its control plane and slow path: "
        "configure the shadow interfaces with `ip`.");
    app.set_version_flag("--version", "halfpoll " HALFPOLL_VERSION);
    app.require_subcommand(1);
    app.add_subcommand("run", "Forward, until SIGTERM or `halfpoll stop`")
        ->add_option("CONFIG", args.config, "Configuration file (TOML)")
        ->required();
    std::function<int()> machine_command;
    add_machine_commands(app, machine_command);
    add_show(app, args);
    add_set(app, args);
    add_control(*app.add_subcommand("stop", "Stop a running halfpoll, and wait until it has ended"), args);
    CLI11_PARSE(app, argc, argv);
    try {
        return machine_command ? machine_command() : dispatch(app, args);
    } catch (const std::exception &e) {
        std::cerr << e.what() << "\n";
        return 1;
    }
}
