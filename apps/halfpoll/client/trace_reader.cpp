// SPDX-License-Identifier: BSD-3-Clause
#include "trace_reader.hpp"

#include <halfpoll/start_thread.hpp>

#include <babeltrace2/babeltrace.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <string_view>
#include <system_error>

namespace halfpoll
{

namespace
{

template <auto PUT>
struct put {
    template <typename T>
    void operator()(const T *object) const noexcept
    {
        PUT(object);
    }
};
using value_ptr = std::unique_ptr<bt_value, put<bt_value_put_ref>>;
using plugin_ptr = std::unique_ptr<const bt_plugin, put<bt_plugin_put_ref>>;
using graph_ptr = std::unique_ptr<bt_graph, put<bt_graph_put_ref>>;
using message_ptr = std::unique_ptr<const bt_message, put<bt_message_put_ref>>;

/// Takes the message of this thread's last babeltrace error. Cause 0 is the one closest to the failure.
std::string take_cause()
{
    const bt_error *failure = bt_current_thread_take_error();
    if (!failure) {
        return "no reason given";
    }
    std::string text = bt_error_cause_get_message(bt_error_borrow_cause_by_index(failure, 0));
    bt_error_release(failure);
    text.erase(text.find_last_not_of(". ") + 1);
    return text;
}

void check(int status)
{
    if (status != 0) {
        throw error(take_cause());
    }
}

std::string printable(const char *text)
{
    std::string result = text;
    std::ranges::replace_if(
        result, [](unsigned char c) { return !std::isprint(c); }, '?');
    return result;
}

trace_field field_of(const char *name, const bt_field *field)
{
    trace_field result{.name = name};
    const bt_field_class_type type = bt_field_get_class_type(field);
    if (bt_field_class_type_is(type, BT_FIELD_CLASS_TYPE_UNSIGNED_INTEGER)) {
        result.number = static_cast<std::int64_t>(bt_field_integer_unsigned_get_value(field));
    } else if (bt_field_class_type_is(type, BT_FIELD_CLASS_TYPE_SIGNED_INTEGER)) {
        result.number = bt_field_integer_signed_get_value(field);
    } else {
        result.is_text = true;
        if (type == BT_FIELD_CLASS_TYPE_STRING) {
            result.text = printable(bt_field_string_get_value(field));
        } else if (type == BT_FIELD_CLASS_TYPE_SINGLE_PRECISION_REAL) {
            result.text = std::to_string(bt_field_real_single_precision_get_value(field));
        } else if (type == BT_FIELD_CLASS_TYPE_DOUBLE_PRECISION_REAL) {
            result.text = std::to_string(bt_field_real_double_precision_get_value(field));
        } else {
            result.text = "?"; // DPDK writes no other type
        }
    }
    return result;
}

std::vector<trace_field> fields_of(const bt_field *structure)
{
    std::vector<trace_field> result;
    if (!structure || bt_field_get_class_type(structure) != BT_FIELD_CLASS_TYPE_STRUCTURE) {
        return result;
    }
    const bt_field_class *cls = bt_field_borrow_class_const(structure);
    for (std::uint64_t i = 0; i < bt_field_class_structure_get_member_count(cls); ++i) {
        const auto *member = bt_field_class_structure_borrow_member_by_index_const(cls, i);
        result.push_back(field_of(bt_field_class_structure_member_get_name(member),
                                  bt_field_structure_borrow_member_field_by_index_const(structure, i)));
    }
    return result;
}

trace_event event_of(const bt_message *message)
{
    const bt_event *event = bt_message_event_borrow_event_const(message);
    trace_event result;
    const bt_clock_snapshot *clock = bt_message_event_borrow_default_clock_snapshot_const(message);
    check(bt_clock_snapshot_get_ns_from_origin(clock, &result.time));
    result.stream = bt_stream_get_id(bt_event_borrow_stream_const(event));
    const char *name = bt_event_class_get_name(bt_event_borrow_class_const(event));
    result.name = printable(name ? name : "?");
    result.fields = fields_of(bt_event_borrow_payload_field_const(event));
    for (const trace_field &f : fields_of(bt_packet_borrow_context_field_const(bt_event_borrow_packet_const(event)))) {
        if (f.name == "name") {
            result.thread = f.text;
        }
    }
    return result;
}

/// Whether a signal that ends the process waits behind a signals_blocked.
bool must_end() noexcept
{
    sigset_t waiting;
    sigpending(&waiting);
    return std::ranges::any_of(std::initializer_list<int>{SIGHUP, SIGINT, SIGTERM}, [&](int signal) {
        struct sigaction action;
        return sigismember(&waiting, signal) == 1 && sigaction(signal, nullptr, &action) == 0 &&
               action.sa_handler != SIG_IGN;
    });
}

/// The sink component, which collects the events at the end of the graph.
struct sink {
    bt_message_iterator *messages = nullptr;
    std::vector<trace_event> events;
    std::exception_ptr failure;

    bt_graph_simple_sink_component_consume_func_status consume() noexcept;
};

bt_graph_simple_sink_component_consume_func_status sink::consume() noexcept
{
    bt_message_array_const batch;
    std::uint64_t count = 0;
    const bt_message_iterator_next_status status = bt_message_iterator_next(messages, &batch, &count);
    if (status != BT_MESSAGE_ITERATOR_NEXT_STATUS_OK) {
        return static_cast<bt_graph_simple_sink_component_consume_func_status>(status); // both have equal values
    }
    if (must_end()) {
        failure = std::make_exception_ptr(error("interrupted"));
    }
    for (std::uint64_t i = 0; i < count; ++i) {
        const message_ptr message(batch[i]);
        try {
            if (!failure && bt_message_get_type(message.get()) == BT_MESSAGE_TYPE_EVENT) {
                events.push_back(event_of(message.get()));
            }
        } catch (...) {
            failure = std::current_exception();
        }
    }
    return failure ? BT_GRAPH_SIMPLE_SINK_COMPONENT_CONSUME_FUNC_STATUS_ERROR
                   : BT_GRAPH_SIMPLE_SINK_COMPONENT_CONSUME_FUNC_STATUS_OK;
}

plugin_ptr find_plugin(const char *name)
{
    const bt_plugin *plugin = nullptr;
    if (bt_plugin_find(name, BT_FALSE, BT_FALSE, BT_TRUE, BT_FALSE, BT_TRUE, &plugin) != BT_PLUGIN_FIND_STATUS_OK) {
        throw error("babeltrace2's plugin " + std::string(name) + " is not installed (package libbabeltrace2-0)");
    }
    return plugin_ptr(plugin);
}

const bt_component_source *add_reader(bt_graph *graph, const bt_plugin *ctf, const std::string &folder)
{
    const value_ptr params(bt_value_map_create());
    bt_value *inputs = nullptr;
    check(bt_value_map_insert_empty_array_entry(params.get(), "inputs", &inputs));
    check(bt_value_array_append_string_element(inputs, folder.c_str()));
    const bt_component_source *component = nullptr;
    check(bt_graph_add_source_component(graph, bt_plugin_borrow_source_component_class_by_name_const(ctf, "fs"),
                                        "files", params.get(), BT_LOGGING_LEVEL_NONE, &component));
    return component;
}

/// Adds a muxer that merges the reader's streams (one port each) by time.
const bt_component_filter *add_muxer(bt_graph *graph, const bt_plugin *utils, const bt_component_source *reader)
{
    const bt_component_filter *muxer = nullptr;
    check(bt_graph_add_filter_component(graph, bt_plugin_borrow_filter_component_class_by_name_const(utils, "muxer"),
                                        "merge", nullptr, BT_LOGGING_LEVEL_NONE, &muxer));
    for (std::uint64_t i = 0; i < bt_component_source_get_output_port_count(reader); ++i) {
        check(bt_graph_connect_ports(graph, bt_component_source_borrow_output_port_by_index_const(reader, i),
                                     bt_component_filter_borrow_input_port_by_index_const(muxer, i), nullptr));
    }
    return muxer;
}

void add_sink(bt_graph *graph, const bt_component_filter *muxer, sink &end)
{
    const bt_component_sink *component = nullptr;
    check(bt_graph_add_simple_sink_component(
        graph, "events",
        [](bt_message_iterator *messages, void *data) {
            static_cast<sink *>(data)->messages = messages;
            return BT_GRAPH_SIMPLE_SINK_COMPONENT_INITIALIZE_FUNC_STATUS_OK;
        },
        [](bt_message_iterator *, void *data) { return static_cast<sink *>(data)->consume(); }, nullptr, &end,
        &component));
    check(bt_graph_connect_ports(graph, bt_component_filter_borrow_output_port_by_index_const(muxer, 0),
                                 bt_component_sink_borrow_input_port_by_index_const(component, 0), nullptr));
}

std::vector<trace_event> run_graph(const std::string &folder)
{
    const plugin_ptr ctf = find_plugin("ctf"), utils = find_plugin("utils");
    sink end;
    const graph_ptr graph(bt_graph_create(0));
    const bt_component_source *reader = add_reader(graph.get(), ctf.get(), folder);
    if (bt_component_source_get_output_port_count(reader) == 0) {
        return {};
    }
    add_sink(graph.get(), add_muxer(graph.get(), utils.get(), reader), end);
    const int status = bt_graph_run(graph.get());
    if (end.failure) {
        bt_current_thread_clear_error();
        std::rethrow_exception(end.failure);
    }
    check(status);
    return std::move(end.events);
}

/// babeltrace 2.1 assumes that every packet of a stream with a clock begins with a time stamp. It aborts the process if
/// the metadata has none, and DPDK's metadata has none. The last byte of the thread's name, which terminates the
/// string, is declared as that time stamp: its value is one of the clock's first 255 cycles, before all events.
/// Metadata that has such a time stamp is returned unchanged.
std::string with_packet_begin(std::string metadata)
{
    constexpr std::string_view name = "string_bounded_t name[32];";
    const std::size_t begin = std::min(metadata.find("packet.context"), metadata.size());
    const std::string context = metadata.substr(begin, metadata.find("};", begin) - begin);
    if (context.find("timestamp_begin") == std::string::npos) {
        const std::size_t at = context.find(name);
        if (at == std::string::npos) {
            throw error("its metadata is not what DPDK writes");
        }
        metadata.replace(begin + at, name.size(),
                         "string_bounded_t name[31]; integer { size = 8; map = clock.dpdk.value; } timestamp_begin;");
    }
    return metadata;
}

[[noreturn]] void fail(const char *what, const std::filesystem::path &path)
{
    throw std::filesystem::filesystem_error(what, path, std::error_code(errno, std::generic_category()));
}

std::string content_of(const std::filesystem::path &file)
{
    std::ifstream in(file, std::ios::binary);
    std::string content{std::istreambuf_iterator<char>(in), {}};
    if (!in) {
        fail("cannot read", file);
    }
    return content;
}

/// A temporary folder that babeltrace reads in place of a trace: changed metadata, and symbolic links to the event
/// files. Throws `std::filesystem::filesystem_error`.
class readable_copy
{
public:
    readable_copy(const std::filesystem::path &trace, const std::string &metadata)
    {
        if (!mkdtemp(path_.data())) {
            fail("cannot make", path_);
        }
        try {
            fill(std::filesystem::absolute(trace), metadata);
        } catch (...) {
            remove();
            throw;
        }
    }
    readable_copy(const readable_copy &) = delete;
    readable_copy &operator=(const readable_copy &) = delete;
    ~readable_copy() { remove(); }

    const std::string &path() const noexcept { return path_; }

private:
    void fill(const std::filesystem::path &trace, const std::string &metadata)
    {
        std::ofstream out(path_ + "/metadata", std::ios::binary);
        if (!(out << metadata).flush()) {
            fail("cannot write", path_ + "/metadata");
        }
        for (const auto &file : std::filesystem::directory_iterator(trace)) {
            if (file.path().filename() != "metadata") {
                std::filesystem::create_symlink(file.path(), path_ + "/" + file.path().filename().string());
            }
        }
    }
    void remove() const noexcept
    {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }

    std::string path_ = std::filesystem::temp_directory_path() / "halfpoll-trace-XXXXXX";
};

/// Reads the copy; error messages name `trace` instead of the copy's path.
std::vector<trace_event> read_copy(const readable_copy &copy, const std::string &trace)
{
    try {
        return run_graph(copy.path());
    } catch (const error &e) {
        std::string said = e.what();
        for (std::size_t at = 0; (at = said.find(copy.path(), at)) != std::string::npos; at += trace.size()) {
            said.replace(at, copy.path().size(), trace);
        }
        throw error(said);
    }
}

/// BUFFER_BYTES is the EAL's default (--trace-bufsz); EVENT_BYTES is more than the longest event.
constexpr std::uintmax_t BUFFER_BYTES = 1 << 20, EVENT_BYTES = 256;

} // namespace

const trace_field *trace_event::field(const char *which) const noexcept
{
    const auto found = std::ranges::find(fields, which, &trace_field::name);
    return found == fields.end() ? nullptr : &*found;
}

std::int64_t trace_event::number(const char *which) const noexcept
{
    const trace_field *f = field(which);
    return f ? f->number : 0;
}

std::string trace_event::text(const char *which) const
{
    const trace_field *f = field(which);
    return f ? f->text : "";
}

std::vector<trace_event> read_trace(const std::string &folder)
{
    std::error_code ignored;
    if (!std::filesystem::is_regular_file(folder + "/metadata", ignored)) {
        throw error(folder + ": no trace, it has no file \"metadata\" (DPDK writes one folder rte-... a start)");
    }
    const signals_blocked until_the_copy_is_removed;
    try {
        return read_copy({folder, with_packet_begin(content_of(folder + "/metadata"))}, folder);
    } catch (const error &e) {
        throw error(folder + ": this trace is damaged or cut short (" + e.what() + ")");
    } catch (const std::filesystem::filesystem_error &e) {
        throw error(folder + ": this trace cannot be copied to be read: " + e.what());
    }
}

unsigned full_buffers(const std::string &folder)
{
    unsigned full = 0;
    std::error_code failed;
    for (std::filesystem::directory_iterator file(folder, failed), last; !failed && file != last;
         file.increment(failed)) {
        std::error_code gone;
        const bool channel = file->path().filename().string().starts_with("channel");
        full += channel && file->file_size(gone) >= BUFFER_BYTES - EVENT_BYTES && !gone;
    }
    return full;
}

} // namespace halfpoll
