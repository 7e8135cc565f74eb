// SPDX-License-Identifier: BSD-3-Clause
//
// eal_start POLICY:PRIORITY[:DEVARGS[:NOFILE]] initialises EAL on one CPU with that policy (the number of sched(7)) and
// with NOFILE descriptors. If DEVARGS is given, it opens a port. It starts on a line from stdin and answers with the
// result.
#include "netio/base/ordinary_policy.hpp"

#include <halfpoll/eal.hpp>
#include <halfpoll/ethdev.hpp>

#include <rte_cycles.h>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <sys/resource.h>
#include <unistd.h>
#include <vector>

using namespace halfpoll;

/// Replaces DPDK's function, which DPDK calls while it waits for a thread that it created: on a fast CPU, the
/// microsecond has passed before a thread goes to sleep for it.
extern "C" void rte_delay_us_sleep(unsigned) {}

namespace
{

std::string scheduling(pid_t tid)
{
    sched_param param{};
    const int policy = sched_getscheduler(tid);
    sched_getparam(tid, &param);
    return std::to_string(policy) + ":" + std::to_string(param.sched_priority);
}

std::string interrupt_thread()
{
    for (const auto &task : std::filesystem::directory_iterator("/proc/self/task")) {
        std::string name;
        std::getline(std::ifstream(task.path() / "comm"), name);
        if (name.find("intr") != std::string::npos) {
            return scheduling(std::stoi(task.path().filename()));
        }
    }
    return "none";
}

std::string start(const std::vector<std::string> &args)
{
    cpu_set_t cpus, one;
    sched_getaffinity(0, sizeof cpus, &cpus);
    unsigned cpu = 0;
    while (!CPU_ISSET(cpu, &cpus)) {
        ++cpu;
    }
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    sched_setaffinity(0, sizeof one, &one);
    const sched_param param{.sched_priority = std::stoi(args[1])};
    if (sched_setscheduler(0, std::stoi(args[0]), &param) != 0) {
        return "refused";
    }
    rlimit before{};
    getrlimit(RLIMIT_NOFILE, &before);
    const rlimit descriptors{args.size() > 3 ? std::stoul(args[3]) : before.rlim_cur, before.rlim_max};
    setrlimit(RLIMIT_NOFILE, &descriptors);
    std::string problem;
    try {
        eal_init({.shareable = true, .control_cpu = cpu});
        if (args.size() > 2 && !args[2].empty()) {
            rte_mempool *pool = packet_pool_create("packets", 1023, 2176);
            make_ethdev_port(args[2])->open({.pool = pool});
            packet_pool_free(pool);
        }
    } catch (const error &e) {
        problem = e.what();
    }
    setrlimit(RLIMIT_NOFILE, &before);
    return scheduling(0) + " " + interrupt_thread() + " " + problem;
}

} // namespace

int main(int, char **argv)
{
    alarm(20); // kills the process even while it spins
    std::vector<std::string> args;
    std::istringstream in(argv[1]);
    for (std::string arg; std::getline(in, arg, ':');) {
        args.push_back(arg);
    }
    std::string line;
    std::getline(std::cin, line);
    std::cout << start(args) << std::endl;
}
