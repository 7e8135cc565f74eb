// SPDX-License-Identifier: BSD-3-Clause
#include "commands.hpp"
#include "control_client.hpp"

#include <CLI/CLI.hpp>

#include <filesystem>
#include <iostream>
#include <memory>

namespace halfpoll
{

namespace
{

using nlohmann::json;

/// Parses "key=value" pairs. A value that is not a number is a string.
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

struct set_arguments {
    std::string what, name;
    std::vector<std::string> settings;
};

/// Adds `halfpoll set WHAT [NAME] KEY=VALUE...`. `name` describes NAME; empty: the command takes no NAME.
void add_settable(CLI::App &set, command_line &line, const std::string &what, const std::string &help,
                  const std::string &name, const std::string &keys)
{
    auto args = std::make_shared<set_arguments>();
    args->what = what;
    CLI::App *command = set.add_subcommand(what, help);
    if (!name.empty()) {
        command->add_option("NAME", args->name, name)->required();
    }
    command->add_option("SETTING", args->settings, keys)->required();
    add_control(*command, line);
    command->callback([&line, args] {
        line.run = [&line, args] {
            control_request(line.control,
                            {{"set", args->what}, {"name", args->name}, {"values", settings_of(args->settings)}});
            return 0;
        };
    });
}

constexpr unsigned RELOAD_PATIENCE = 60; ///< seconds; a reload closes and opens ports

struct reload_arguments {
    std::string config;
    bool dry_run = false;
    bool json_output = false;
};

void print_changes(const json &changes)
{
    for (const json &change : changes) {
        const auto text = [&change](const char *key) { return change[key].get<std::string>(); };
        if (text("change") == "added") {
            std::cout << "+ " << text("where") << ": " << text("to") << "\n";
        } else if (text("change") == "removed") {
            std::cout << "- " << text("where") << ": " << text("from") << "\n";
        } else {
            std::cout << "~ " << text("where") << " " << text("key") << ": " << text("from") << " -> " << text("to")
                      << "\n";
        }
    }
}

int reload(const command_line &line, const reload_arguments &args)
{
    // The running program has a different working directory.
    const std::string file = args.config.empty() ? "" : std::filesystem::absolute(args.config).string();
    const json reply = control_request(line.control, {{"reload", file}, {"dry_run", args.dry_run}}, RELOAD_PATIENCE);
    if (args.json_output) {
        std::cout << reply.dump(2) << "\n";
    } else {
        print_changes(reply["reload"]);
        if (reply["reload"].empty() && reply["refused"].empty()) {
            std::cout << "no changes\n";
        }
    }
    if (!reply["refused"].empty()) {
        std::cerr << "these need a restart, a reload would be refused:\n";
        std::cout << std::flush;
        print_changes(reply["refused"]);
    }
    const json impossible = reply.value("impossible", json::array());
    for (const json &obstacle : impossible) {
        std::cerr << obstacle.get<std::string>() << "\n";
    }
    for (const json &problem : reply.value("problems", json::array())) {
        std::cerr << problem.get<std::string>() << "\n";
    }
    return reply["refused"].empty() && impossible.empty() ? 0 : 1;
}

/// Prints the names of all rows of a table.
void print_names(const command_line &line, const std::string &what, const std::string &key)
{
    const json reply = control_request(line.control, {{"show", what}});
    for (const json &row : reply[what]) {
        if (const std::string name = row.value(key, ""); !name.empty()) {
            std::cout << name << "\n";
        }
    }
}

int names(const command_line &line, const std::string &what)
{
    if (what == "dev") {
        print_names(line, "interfaces", "name");
        print_names(line, "interfaces", "shadow");
    } else if (what == "cpu") {
        const json reply = control_request(line.control, {{"show", what}});
        for (const json &row : reply[what]) {
            std::cout << row["cpu"] << "\n";
        }
    } else if (what == "port") {
        print_names(line, "interfaces", "name");
    } else if (what == "xdp") {
        const json reply = control_request(line.control, {{"show", what}});
        for (const json &row : reply["xdp_configured"]) {
            std::cout << row["name"].get<std::string>() << "\n";
        }
    } else if (what == "napi") {
        print_names(line, "napi", "name");
        print_names(line, "interfaces", "name");
    } else {
        print_names(line, "punt", "class");
    }
    return 0;
}

} // namespace

void add_control(CLI::App &command, command_line &line)
{
    command.add_option("--control", line.control, "Control socket of the running halfpoll")->capture_default_str();
}

void add_set(CLI::App &app, command_line &line)
{
    CLI::App *set = app.add_subcommand("set", "Change settings of a running halfpoll, until a reload or its end");
    set->require_subcommand(1);
    add_settable(*set, line, "napi", "Settings of a NAPI instance, or of all of an interface",
                 "Instance or interface (halfpoll show napi)",
                 "napi_defer_hard_irqs=N gro_flush_timeout=NS irq_suspend_timeout=NS busy_poll=US|adaptive "
                 "threaded=disabled|enabled|busy-poll");
    add_settable(*set, line, "rps", "Steering of an rx queue, or of all of an interface, to other CPUs",
                 "Queue or interface (halfpoll show rps)", "rps_cpus=LIST|MASK rps_flow_cnt=ENTRIES");
    add_settable(*set, line, "runtime", "Bounds of a NET_RX dispatch and settings of all queues", "",
                 "netdev_budget=PACKETS netdev_budget_usecs=US netdev_max_backlog=PACKETS skb_defer_max=PACKETS "
                 "rps_sock_flow_entries=ENTRIES "
                 "flow_limit_cpu_bitmap=LIST|MASK flow_limit_table_len=BUCKETS");
    add_settable(*set, line, "punt", "Limits of a class of packets to the kernel, per CPU",
                 "Class (halfpoll show punt)", "rate=PACKETS_PER_SECOND burst=PACKETS");
    add_settable(*set, line, "autoscale", "When CPUs are parked, and when they come back", "",
                 "target_us=US min_cpus=CPUS low_percent=PERCENT settle_ms=MS");
    add_settable(*set, line, "log", "What is logged", "", "level=debug|info|warning|error");
}

void add_reload(CLI::App &app, command_line &line)
{
    auto args = std::make_shared<reload_arguments>();
    CLI::App *command = app.add_subcommand(
        "reload", "Go over to a changed configuration while packets flow: all of it, or nothing if something fails");
    command->add_option("CONFIG", args->config, "Another configuration file than the one that is in use");
    command->add_flag("--dry-run", args->dry_run, "Only print what would change");
    command->add_flag("--json", args->json_output, "JSON instead of text");
    add_control(*command, line);
    command->callback([&line, args] { line.run = [&line, args] { return reload(line, *args); }; });
}

void add_cpu(CLI::App &app, command_line &line)
{
    CLI::App *cpu = app.add_subcommand("cpu", "Take a runtime CPU out or put it back while packets flow");
    cpu->require_subcommand(1);
    auto number = std::make_shared<unsigned>(0);
    for (const auto &[what, help] :
         {std::pair("offline", "Others take over its queues and its work; its thread sleeps"),
          std::pair("online", "Its queues return to it")}) {
        CLI::App *command = cpu->add_subcommand(what, help);
        command->add_option("CPU", *number, "Runtime CPU (halfpoll show cpu)")->required();
        add_control(*command, line);
        command->callback([&line, number, what = std::string(what)] {
            line.run = [&line, number, what] {
                control_request(line.control, {{"cpu", what}, {"number", *number}});
                return 0;
            };
        });
    }
}

void add_stop(CLI::App &app, command_line &line)
{
    CLI::App *command = app.add_subcommand("stop", "Stop a running halfpoll, and wait until it has ended");
    add_control(*command, line);
    command->callback([&line] {
        line.run = [&line] {
            control_stop(line.control);
            return 0;
        };
    });
}

void add_names(CLI::App &app, command_line &line)
{
    auto what = std::make_shared<std::string>();
    CLI::App *command = app.add_subcommand("names", "For shell completion: names that the other commands take");
    command->group(""); // not in the help
    command->add_option("WHAT", *what)->required()->check(CLI::IsMember({"cpu", "dev", "napi", "port", "punt", "xdp"}));
    add_control(*command, line);
    command->callback([&line, what] { line.run = [&line, what] { return names(line, *what); }; });
}

} // namespace halfpoll
