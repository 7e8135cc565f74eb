// SPDX-License-Identifier: BSD-3-Clause
#include "commands.hpp"
#include "control_client.hpp"
#include "rates.hpp"
#include "render.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

namespace halfpoll
{

namespace
{

using nlohmann::json;

struct show_table {
    const char *what, *prints;
    bool paged = false; ///< may be large: comes page by page
};
constexpr show_table TABLES[] = {
    {"status", "Version, configuration, CPUs, buffers, what runs degraded, state of the kernel's tables"},
    {"interfaces", "By port: state, shadow, MTU, packets, drops by reason, the device's own counters"},
    {"napi", "By rx queue: how it waits and why, settings, polls, packets, interrupts"},
    {"cpu", "By runtime CPU: thread, logical CPU, online or offline, queues, time in polls with packets"},
    {"softnet", "By runtime CPU: /proc/net/softnet_stat, sleeps, wake-ups, doorbells"},
    {"softirqs", "By runtime CPU: how often each softirq was served (/proc/softirqs)"},
    {"rps", "By rx queue: to which CPUs its packets are steered, and how many"},
    {"xdp", "By rx queue: XDP program, packets by verdict; the figures of the programs"},
    {"fib", "Prefixes that the data path holds, and where they lead", true},
    {"route", "Routes of the kernel as received, a row a next hop; with an address: what applies to it", true},
    {"nexthop", "Next hops, and how many prefixes use each", true},
    {"neigh", "Neighbours of the kernel that can be sent to", true},
    {"drops", "Packets dropped, by reason"},
    {"punt", "Packets given to the kernel, by class, and those over the limit; counters of the shadows"},
    {"policy", "By interface and family: forwarded by the fast path or by the kernel alone, and why"},
};

std::vector<std::string> table_names()
{
    std::vector<std::string> names;
    for (const show_table &table : TABLES) {
        names.emplace_back(table.what);
    }
    return names;
}

/// One line for each table, in the columns of the other help.
std::string table_help()
{
    std::string text = "WHAT:";
    for (const show_table &table : TABLES) {
        std::string name = std::string("  ") + table.what;
        name.resize(30, ' ');
        text += "\n" + name + table.prints;
    }
    return text;
}

struct show_arguments {
    std::string what, to, dev;
    bool all = false;
    bool json_output = false;
    std::uint64_t limit = 0; ///< 0: none
    double watch = 0;        ///< seconds; 0: once
    std::uint64_t times = 0; ///< 0: no limit

    json request() const
    {
        json request = {{"show", what}, {"all", all}};
        for (const auto &[key, value] : {std::pair("to", &to), std::pair("dev", &dev)}) {
            if (!value->empty()) {
                request[key] = *value;
            }
        }
        return request;
    }
};

/// Prints a paged table page by page: neither process ever holds a million routes in memory at once.
class page_writer
{
public:
    page_writer(std::string key, bool as_json) : key_(std::move(key)), as_json_(as_json) {}

    void rows(const json &rows)
    {
        if (!as_json_) {
            std::cout << render_page(key_, rows, layout_);
        }
        for (const json &row : rows) {
            if (as_json_) {
                std::cout << (written_ ? ",\n    " : "{\n  \"" + key_ + "\": [\n    ") << row.dump();
            }
            ++written_;
        }
    }
    /// `figures`: the last reply without its rows.
    void end(const json &figures) const
    {
        if (as_json_) {
            std::cout << (written_ ? "\n  ]" : "{\n  \"" + key_ + "\": []");
            for (const auto &[key, value] : figures.items()) {
                std::cout << ",\n  \"" << key << "\": " << value.dump();
            }
            std::cout << "\n}\n";
            return;
        }
        if (written_ == 0) {
            std::cout << "no " << key_ << "\n";
        }
        std::cout << render(figures);
    }
    std::uint64_t written() const noexcept { return written_; }

private:
    std::string key_;
    bool as_json_;
    table_layout layout_;
    std::uint64_t written_ = 0;
};

bool is_paged(const std::string &what)
{
    return std::any_of(std::begin(TABLES), std::end(TABLES),
                       [&](const show_table &table) { return table.paged && what == table.what; });
}

void show_pages(const command_line &line, const show_arguments &args)
{
    page_writer out(args.what, args.json_output);
    json request = args.request();
    for (;;) {
        if (args.limit != 0) {
            request["limit"] = args.limit - out.written();
        }
        json reply = control_request(line.control, request);
        json &rows = reply[args.what];
        if (args.limit != 0 && rows.size() > args.limit - out.written()) {
            rows.erase(rows.begin() + static_cast<std::ptrdiff_t>(args.limit - out.written()), rows.end());
        }
        out.rows(rows);
        const bool more = reply.contains("next") && (args.limit == 0 || out.written() < args.limit);
        if (!more) {
            reply.erase(args.what);
            reply.erase("next");
            out.end(reply);
            return;
        }
        request["from"] = reply["next"];
    }
}

void print(const json &reply, const show_arguments &args)
{
    if (args.json_output) {
        std::cout << reply.dump(args.watch > 0 ? -1 : 2) << "\n" << std::flush;
    } else {
        std::cout << render(reply) << std::flush;
    }
}

/// Prints the heading of one turn of --watch; on a terminal it clears the screen first.
void print_heading(const show_arguments &args)
{
    if (args.json_output) {
        return;
    }
    const std::time_t now = std::time(nullptr);
    char clock[16];
    std::tm local{};
    std::strftime(clock, sizeof clock, "%H:%M:%S", localtime_r(&now, &local));
    std::cout << (isatty(STDOUT_FILENO) ? "\033[H\033[J" : "") << clock
              << (is_paged(args.what) || args.what == "status" ? "" : "  counters: per second") << "\n";
}

int watch(const command_line &line, const show_arguments &args)
{
    using clock = std::chrono::steady_clock;
    const std::chrono::duration<double> interval(args.watch);
    json before = is_paged(args.what) ? json() : control_request(line.control, args.request());
    auto since = clock::now();
    for (std::uint64_t turn = 0; args.times == 0 || turn < args.times; ++turn) {
        std::this_thread::sleep_for(interval);
        print_heading(args);
        if (is_paged(args.what)) {
            show_pages(line, args);
            std::cout << std::flush;
            continue;
        }
        json now = control_request(line.control, args.request());
        const auto at = clock::now();
        print(rates(before, now, std::chrono::duration<double>(at - since).count()), args);
        before = std::move(now);
        since = at;
    }
    return 0;
}

int show(const command_line &line, const show_arguments &args)
{
    if (args.watch > 0) {
        return watch(line, args);
    }
    if (is_paged(args.what)) {
        show_pages(line, args);
    } else {
        print(control_request(line.control, args.request()), args);
    }
    return 0;
}

} // namespace

void add_show(CLI::App &app, command_line &line)
{
    auto args = std::make_shared<show_arguments>();
    CLI::App *show_app = app.add_subcommand("show", "Print what a running halfpoll sees and counts");
    show_app->add_option("WHAT", args->what, "What to print; see below")
        ->required()
        ->check(CLI::IsMember(table_names()).description(""));
    show_app->footer(table_help());
    show_app->add_option("TO", args->to,
                         "fib, neigh, nexthop: only this address or what is inside this prefix; route: what a packet "
                         "to this address meets, or the routes inside this prefix");
    show_app->add_option("--dev", args->dev, "fib, route, neigh, nexthop: only this port or shadow");
    show_app->add_flag("--json", args->json_output, "JSON instead of tables");
    show_app->add_flag("--all", args->all, "drops: also those that never happened");
    show_app->add_option("--limit", args->limit, "fib, route, neigh, nexthop: at most so many rows");
    show_app->add_option("--watch", args->watch, "Again every so many seconds (1), counters as rates per second")
        ->expected(0, 1)
        ->default_str("1")
        ->check(CLI::Range(0.1, 86'400.0));
    show_app->add_option("--count", args->times, "With --watch: so many times");
    add_control(*show_app, line);
    show_app->callback([&line, args] { line.run = [&line, args] { return show(line, *args); }; });
}

} // namespace halfpoll
