// SPDX-License-Identifier: BSD-3-Clause
#include <gtest/gtest.h>
#include <rte_eal.h>

#include <cstdio>
#include <cstdlib>
#include <sched.h>
#include <string>
#include <vector>

int main(int argc, char **argv)
{
    testing::InitGoogleTest(&argc, argv);
    cpu_set_t before;
    sched_getaffinity(0, sizeof before, &before);
    std::vector<std::string> args{argv[0], "--no-huge", "--no-shconf",     "--no-pci",    "--no-telemetry",
                                  "-m",    "256",       "--log-level=*:4", "--lcores=0@0"};
    if (const char *dir = std::getenv("HALFPOLL_TEST_TRACE_DIR")) {
        args.insert(args.end(), {"--trace=xdp_.*", std::string("--trace-dir=") + dir});
    }
    std::vector<char *> pointers;
    for (std::string &arg : args) {
        pointers.push_back(arg.data());
    }
    if (rte_eal_init(static_cast<int>(pointers.size()), pointers.data()) < 0) {
        std::fprintf(stderr, "EAL does not start\n");
        return 1;
    }
    sched_setaffinity(0, sizeof before, &before); // undoes the pinning: EAL pins the caller
    return RUN_ALL_TESTS();
}
