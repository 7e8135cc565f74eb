// SPDX-License-Identifier: BSD-3-Clause
#include <gtest/gtest.h>
#include <rte_eal.h>

#include <cstdio>
#include <sched.h>

int main(int argc, char **argv)
{
    testing::InitGoogleTest(&argc, argv);
    cpu_set_t before;
    sched_getaffinity(0, sizeof before, &before);
    const char *args[] = {argv[0], "--no-huge", "--no-shconf",     "--no-pci",    "--no-telemetry",
                          "-m",    "256",       "--log-level=*:4", "--lcores=0@0"};
    if (rte_eal_init(static_cast<int>(std::size(args)), const_cast<char **>(args)) < 0) {
        std::fprintf(stderr, "EAL does not start\n");
        return 1;
    }
    sched_setaffinity(0, sizeof before, &before); // EAL pins the caller
    return RUN_ALL_TESTS();
}
