// SPDX-License-Identifier: BSD-3-Clause
#include "eal_intr_thread.hpp"
#include "netio/base/ordinary_policy.hpp"
#include "netio/base/sigpipe_guard.hpp"
#include "packet_pool.hpp"
#include "pci_sysfs.hpp"

#include <halfpoll/eal.hpp>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_log.h>

#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>

namespace halfpoll
{
namespace
{

/// Free hugepages of all sizes, in MiB.
unsigned long free_hugepage_mb()
{
    unsigned long mb = 0;
    std::error_code ignored;
    for (const auto &entry : std::filesystem::directory_iterator("/sys/kernel/mm/hugepages", ignored)) {
        const std::string name = entry.path().filename(); // hugepages-2048kB
        unsigned long kb = 0, pages = 0;
        std::ifstream(entry.path() / "free_hugepages") >> pages;
        if (std::sscanf(name.c_str(), "hugepages-%lukB", &kb) == 1) {
            mb += pages * kb / 1024;
        }
    }
    return mb;
}

/// Moves the calling thread to one CPU, and back in the destructor. The EAL's own threads inherit the affinity that
/// they find at start.
class affinity_scope
{
public:
    explicit affinity_scope(unsigned cpu)
    {
        sched_getaffinity(0, sizeof before_, &before_);
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        if (sched_setaffinity(0, sizeof one, &one) != 0) {
            throw_errno(errno, "control thread on CPU " + std::to_string(cpu) + " (control_cpu)");
        }
    }
    ~affinity_scope() { sched_setaffinity(0, sizeof before_, &before_); }
    affinity_scope(const affinity_scope &) = delete;
    affinity_scope &operator=(const affinity_scope &) = delete;

private:
    cpu_set_t before_;
};

/// Captures the EAL's log, so that its last line can be part of the exception.
class log_capture
{
public:
    log_capture() : stream_(open_memstream(&text_, &size_))
    {
        if (stream_ && rte_openlog_stream(stream_) != 0) {
            std::fclose(stream_);
            stream_ = nullptr;
        }
    }
    ~log_capture()
    {
        if (stream_) {
            rte_openlog_stream(nullptr);
            std::fclose(stream_);
        }
        std::free(text_);
    }
    log_capture(const log_capture &) = delete;
    log_capture &operator=(const log_capture &) = delete;

    std::string last_line()
    {
        if (!stream_ || std::fflush(stream_) != 0) {
            return {};
        }
        std::string all(text_, size_);
        all.erase(all.find_last_not_of(" \n") + 1);
        const std::size_t newline = all.rfind('\n');
        return newline == std::string::npos ? all : all.substr(newline + 1);
    }

private:
    char *text_ = nullptr;
    std::size_t size_ = 0;
    std::FILE *stream_;
};

bool decide_hugepages(const eal_options &options, std::vector<std::string> &notes)
{
    if (!options.hugepages) {
        return false;
    }
    const unsigned long mb = free_hugepage_mb();
    if (mb >= options.memory_mb) {
        return true;
    }
    notes.push_back("only " + std::to_string(mb) + " MiB of hugepages are free, " + std::to_string(options.memory_mb) +
                    " are wanted (echo " + std::to_string(options.memory_mb / 2) +
                    " > /proc/sys/vm/nr_hugepages): going without");
    return false;
}

std::vector<std::string> arguments(const eal_options &options, bool hugepages)
{
    std::vector<std::string> args{"halfpoll",
                                  "--no-telemetry",
                                  "--iova-mode=va",
                                  "--log-level=*:4",
                                  "--lcores=0@" + std::to_string(options.control_cpu),
                                  "-m",
                                  std::to_string(options.memory_mb)};
    if (hugepages) {
        args.push_back("--in-memory");
        if (options.shareable) {
            args.push_back("--single-file-segments");
        }
    } else { // the EAL refuses --in-memory here; these leave no files either, and the one memfd is shareable
        args.push_back("--no-huge");
        args.push_back("--no-shconf");
    }
    if (options.pci.empty()) {
        args.push_back("--no-pci");
    }
    for (const std::string &address : options.pci) {
        args.push_back("-a");
        args.push_back(address);
    }
    if (!options.trace.empty()) {
        args.push_back("--trace=" + options.trace);
    }
    if (!options.trace_dir.empty()) {
        args.push_back("--trace-dir=" + options.trace_dir);
    }
    const auto prefers_msi = [](const std::string &address) { return pci_prefers_msi(address); };
    if (!options.vfio_intr.empty()) {
        args.push_back("--vfio-intr=" + options.vfio_intr);
    } else if (!options.pci.empty() && std::ranges::all_of(options.pci, prefers_msi)) {
        args.push_back("--vfio-intr=msi");
    }
    return args;
}

} // namespace

std::vector<std::string> eal_init(const eal_options &options)
{
    std::vector<std::string> notes;
    const bool hugepages = decide_hugepages(options, notes);
    if (!options.pci.empty() && !hugepages) {
        notes.push_back("PCI ports without hugepages: few drivers work so (set hugepages = true, and echo " +
                        std::to_string(options.memory_mb / 2) + " > /proc/sys/vm/nr_hugepages)");
    }
    std::vector<std::string> args = arguments(options, hugepages);
    std::vector<char *> argv;
    std::transform(args.begin(), args.end(), std::back_inserter(argv), [](std::string &a) { return a.data(); });
    const affinity_scope on_control_cpu(options.control_cpu);
    const ordinary_policy while_threads_start("DPDK's EAL does not start");
    const sigpipe_guard eal_threads_inherit_it;
    log_capture log;
    if (rte_eal_init(static_cast<int>(argv.size()), argv.data()) < 0) {
        const int reason = rte_errno;
        throw_errno(reason, "DPDK's EAL does not start (" + log.last_line() + ")");
    }
    // The interrupt thread gets the caller's policy too, so that it is not preempted with a lock that others need.
    if (while_threads_start.inherited()) {
        run_on_eal_intr_thread([&] { while_threads_start.restore(); });
    }
    pools_in_eal_memory = hugepages || options.shareable || !options.pci.empty(); // DMA reaches only EAL memory
    return notes;
}

} // namespace halfpoll
