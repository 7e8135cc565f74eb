// SPDX-License-Identifier: BSD-3-Clause
#include "commands.hpp"
#include "control_client.hpp"
#include "trace_print.hpp"

#include <CLI/CLI.hpp>

#include <chrono>
#include <iostream>
#include <memory>
#include <thread>

namespace halfpoll
{

namespace
{

/// The events of the bottom half, without DPDK's own events.
constexpr const char *DEFAULT_EVENTS = "^\\(softirq\\|irq_handler\\|napi\\|contention\\|sched\\|xdp\\)_";
constexpr unsigned SAVE_PATIENCE = 30; ///< seconds

struct trace_arguments {
    std::string folder;
    unsigned ms = 100;
    trace_filter filter;
};

std::vector<trace_event> trace_running(const command_line &line, const trace_arguments &args)
{
    const std::string &events = args.filter.events;
    control_request(line.control,
                    {{"trace", "begin"}, {"events", events.empty() ? DEFAULT_EVENTS : events}, {"ms", args.ms}});
    std::this_thread::sleep_for(std::chrono::milliseconds(args.ms));
    const auto reply = control_request(line.control, {{"trace", "end"}}, SAVE_PATIENCE);
    const std::string folder = reply.at("folder").get<std::string>();
    try {
        std::vector<trace_event> result = read_trace(folder);
        if (const unsigned full = full_buffers(folder)) {
            std::cerr << full << " threads had more to tell than their buffers hold, and their last events are "
                      << "missing: trace for less time (--ms) or less (--events)\n";
        }
        control_request(line.control, {{"trace", "forget"}});
        return result;
    } catch (const error &) {
        control_request(line.control, {{"trace", "forget"}});
        throw;
    }
}

int trace(const command_line &line, const trace_arguments &args)
{
    const std::vector<trace_event> events = args.folder.empty() ? trace_running(line, args) : read_trace(args.folder);
    print_trace(std::cout, events, args.filter);
    return 0;
}

} // namespace

void add_trace(CLI::App &app, command_line &line)
{
    auto args = std::make_shared<trace_arguments>();
    CLI::App *command =
        app.add_subcommand("trace", "Print what threads did when: of a running halfpoll, or of a trace on disk");
    CLI::Option *folder = command->add_option("FOLDER", args->folder, "A saved trace: folder rte-... of trace_dir");
    command->add_option("--ms", args->ms, "Trace for so long")->capture_default_str()->excludes(folder);
    command->add_option("--events", args->filter.events, "Events: regular expression, as \"softirq_.*\"");
    command->add_option("--cpu", args->filter.cpu, "Only that logical CPU")->check(CLI::NonNegativeNumber);
    add_control(*command, line);
    command->callback([&line, args] { line.run = [&line, args] { return trace(line, *args); }; });
}

} // namespace halfpoll
