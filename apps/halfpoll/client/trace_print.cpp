// SPDX-License-Identifier: BSD-3-Clause
#include "trace_print.hpp"

#include <halfpoll/softirq.hpp>

#include <algorithm>
#include <cstdio>
#include <map>
#include <ostream>
#include <regex.h>
#include <set>

namespace halfpoll
{

namespace
{

/// A compiled regular expression; an empty one matches every name.
class name_pattern
{
public:
    explicit name_pattern(const std::string &text) : any_(text.empty())
    {
        if (!any_ && regcomp(&compiled_, text.c_str(), REG_NOSUB) != 0) {
            throw error("events: found \"" + text +
                        "\", expected a basic regular expression (regex(7)), as \"softirq_.*\"");
        }
    }
    ~name_pattern()
    {
        if (!any_) {
            regfree(&compiled_);
        }
    }
    name_pattern(const name_pattern &) = delete;
    name_pattern &operator=(const name_pattern &) = delete;
    bool matches(const std::string &name) const
    {
        return any_ || regexec(&compiled_, name.c_str(), 0, nullptr, 0) == 0;
    }

private:
    const bool any_;
    regex_t compiled_{};
};

/// A thread as its events describe it. Only events of the runtime carry the thread's id and CPU; DPDK's events do not.
struct thread {
    std::string name;
    std::int64_t tid = 0; ///< 0: unknown
    int cpu = -1;         ///< of its last event; -1: unknown
};

std::string label(const thread &t) { return t.tid == 0 ? t.name : t.name + "-" + std::to_string(t.tid); }

class timeline
{
public:
    timeline(std::ostream &out, const trace_filter &filter) : out_(out), cpu_(filter.cpu), names_(filter.events) {}
    void print(const std::vector<trace_event> &events);

private:
    void learn_threads(const std::vector<trace_event> &events);
    bool wanted(const trace_event &e) const;
    void print_line(const trace_event &e, const thread &t, double microseconds);
    std::string details(const trace_event &e) const;
    std::string thread_called(std::int64_t tid) const;

    std::ostream &out_;
    const int cpu_;
    const name_pattern names_;
    std::map<std::uint64_t, thread> threads_; ///< by stream
};

void timeline::learn_threads(const std::vector<trace_event> &events)
{
    for (const trace_event &e : events) {
        thread &t = threads_[e.stream];
        t.name = e.thread;
        if (e.field("tid")) {
            t.tid = e.number("tid");
            t.cpu = t.cpu < 0 ? static_cast<int>(e.number("cpu")) : t.cpu; // CPU of its first event
        }
    }
}

bool timeline::wanted(const trace_event &e) const
{
    return names_.matches(e.name) && (cpu_ < 0 || threads_.at(e.stream).cpu == cpu_);
}

std::string timeline::thread_called(std::int64_t tid) const
{
    const auto found = std::ranges::find_if(threads_, [&](const auto &t) { return t.second.tid == tid; });
    return found == threads_.end() ? std::to_string(tid) : label(found->second);
}

std::string number_of(const trace_event &e, const char *key) { return std::to_string(e.number(key)); }

std::string softirq_details(const trace_event &e)
{
    const std::int64_t vec = e.number("vec");
    return "vec=" + std::to_string(vec) + " [action=" + (vec >= 0 && vec < NR_SOFTIRQS ? softirq_to_name[vec] : "?") +
           "]";
}

/// Formats events without a format of their own: "key=value ...".
std::string other_details(const trace_event &e)
{
    std::string text;
    for (const trace_field &f : e.fields) {
        if (f.name != "tid" && f.name != "cpu" && f.name != "prio") {
            text += (text.empty() ? "" : " ") + f.name + "=" + (f.is_text ? f.text : std::to_string(f.number));
        }
    }
    return text;
}

std::string timeline::details(const trace_event &e) const
{
    if (e.name.starts_with("softirq_")) {
        return softirq_details(e);
    }
    if (e.name == "contention_begin") {
        return "lock=" + e.text("name") + " holder=" + thread_called(e.number("holder"));
    }
    if (e.name == "contention_end") {
        return "lock=" + e.text("name");
    }
    if (e.name == "sched_pi_setprio") {
        return thread_called(e.number("holder")) + " prio " + number_of(e, "oldprio") + " -> " +
               number_of(e, "newprio");
    }
    if (e.name == "sched_wakeup") {
        return e.text("comm") + " prio=" + number_of(e, "target_prio");
    }
    if (e.name == "sched_block" || e.name == "sched_run") {
        return "prio=" + number_of(e, "prio");
    }
    return other_details(e);
}

void timeline::print_line(const trace_event &e, const thread &t, double microseconds)
{
    char place[64];
    if (t.cpu < 0) {
        std::snprintf(place, sizeof place, "[  -] %12.3f ", microseconds);
    } else {
        std::snprintf(place, sizeof place, "[%03d] %12.3f ", t.cpu, microseconds);
    }
    constexpr std::size_t WIDTH = 24;
    std::string who = label(t);
    who.resize(std::max(who.size(), WIDTH), ' ');
    const std::string about = details(e);
    out_ << who << " " << place << e.name << (about.empty() ? "" : ": ") << about << "\n";
}

void timeline::print(const std::vector<trace_event> &events)
{
    learn_threads(events);
    std::set<int> cpus;
    for (const auto &[stream, t] : threads_) {
        cpus.insert(t.cpu);
    }
    const bool one_cpu = cpu_ >= 0 || cpus.size() == 1;
    const trace_event *before = nullptr;
    for (const trace_event &e : events) {
        thread &t = threads_[e.stream];
        t.cpu = e.field("cpu") && e.field("tid") ? static_cast<int>(e.number("cpu")) : t.cpu;
        if (!wanted(e)) {
            continue;
        }
        if (before && one_cpu && before->stream != e.stream) {
            out_ << "\n";
        }
        print_line(e, t, static_cast<double>(e.time - events.front().time) / 1000);
        before = &e;
    }
}

/// Returns the events between the last trace_begin() and trace_end(), without these two: the threads' buffers still
/// hold events from before that trace_begin(). Without such a pair, returns all events.
std::vector<trace_event> between_marks(const std::vector<trace_event> &events)
{
    const auto named = [](const char *name) { return [name](const trace_event &e) { return e.name == name; }; };
    const auto end = std::ranges::find_if(events.rbegin(), events.rend(), named("trace_end"));
    const auto begin = std::find_if(end, events.rend(), named("trace_begin"));
    if (begin == events.rend()) {
        return events;
    }
    return {begin.base(), end.base() - 1};
}

} // namespace

void print_trace(std::ostream &out, const std::vector<trace_event> &events, const trace_filter &filter)
{
    const std::vector<trace_event> part = between_marks(events);
    timeline(out, filter).print(part);
}

} // namespace halfpoll
