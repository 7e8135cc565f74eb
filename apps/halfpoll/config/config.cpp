// SPDX-License-Identifier: BSD-3-Clause
#include "config.hpp"
#include "buffer_need.hpp"
#include "config_tables.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sched.h>

namespace halfpoll
{

namespace
{

/// Chooses `mbufs` if the file does not set it: as many buffers as can be in use at once, within memory_mb.
void choose_mbufs(config &out)
{
    const std::uint64_t memory = std::uint64_t{out.memory_mb - 32} << 20;
    const std::uint64_t wanted = std::min(buffers_at_most(out), memory / BUFFER_BYTES);
    out.mbufs = static_cast<unsigned>(
        std::max({std::uint64_t{out.mbufs}, std::min<std::uint64_t>(wanted, MBUFS.max), buffers_at_rest(out)}));
    out.mbufs_chosen = true;
}

/// The pool must be able to fill all rings and the caches in front of them, and must fit into memory_mb.
void check_buffers(const pool_keys &pool, const toml::node &ports, problem_list &problems, config &out)
{
    if (!pool.mbufs) {
        choose_mbufs(out);
    }
    const std::uint64_t needed = buffers_at_rest(out);
    if (needed > out.mbufs) {
        problems.add(*pool.mbufs, "mbufs: found " + std::to_string(out.mbufs) + ", expected at least " +
                                      std::to_string(needed) + " for the rings of these ports");
    }
    const std::uint64_t megabytes = buffer_megabytes(out.mbufs);
    if (megabytes > out.memory_mb) {
        problems.add(pool.memory_mb ? *pool.memory_mb
                     : pool.mbufs   ? *pool.mbufs
                                    : ports,
                     "memory_mb: found " + std::to_string(out.memory_mb) + ", expected at least " +
                         std::to_string(megabytes) + " for " + std::to_string(out.mbufs) + " mbufs");
    }
}

void read_tables(const toml::table &root, problem_list &problems, const machine &on, config &out)
{
    toml_reader reader(root, "the file", problems);
    const pool_keys pool = read_runtime(reader, problems, on, out);
    read_xdp_programs(reader, problems, out);
    read_ports(reader, problems, out);
    read_xdp_maps(reader, problems, out);
    if (!out.ports.empty()) {
        check_buffers(pool, root["port"].as_array()->front(), problems, out);
    }
    read_forward(reader, problems, out);
    read_punt(reader, problems, out);
    read_log(reader, problems, out);
    read_autoscale(reader, problems, out);
    reader.refuse_unknown();
}

} // namespace

machine machine::detect()
{
    machine found;
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) != 0) {
        throw_errno(errno, "cannot read the CPU affinity of the process");
    }
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
        if (CPU_ISSET(cpu, &set)) {
            found.cpus.push_back(cpu);
        }
    }
    return found;
}

config parse_config(std::string_view text, const std::string &file, const machine &on)
{
    problem_list problems(file);
    config out;
    out.file = file;
    try {
        read_tables(toml::parse(text, file), problems, on, out);
    } catch (const toml::parse_error &e) {
        problems.add(e.source().begin.line, "not TOML: " + std::string(e.description()));
    }
    if (!problems.empty()) {
        throw error(problems.to_string());
    }
    return out;
}

config load_config(const std::string &file, const machine &on)
{
    if (std::error_code ignored; std::filesystem::is_directory(file, ignored)) {
        throw_errno(EISDIR, "cannot read the configuration " + file); // a stream's error would not name the file
    }
    std::ifstream in(file);
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    if (!in || in.bad()) {
        throw_errno(errno, "cannot read the configuration " + file);
    }
    return parse_config(text, file, on);
}

} // namespace halfpoll
