// SPDX-License-Identifier: BSD-3-Clause
//
// The shared object of the test xdp_load: passes packets, or does what its configuration requests.
#include <halfpoll/xdp_program.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace
{

struct instance {
    std::uint8_t action = XDP_PASS;
    unsigned figures = 1;
    std::string closed; ///< file that close() creates
};

int open(const halfpoll_xdp_host *host, const char *config, void **state)
{
    const std::string text(config);
    const std::string word = text.substr(0, text.find(' ')), rest = text.substr(std::min(text.size(), word.size() + 1));
    instance made;
    if (word == "fail") {
        host->error(host->ctx, "line 1: found \"fail\", expected anything else");
        return -EINVAL;
    }
    if (word == "silent") {
        return -ENOMEM;
    }
    if (word == "ifindex" && host->ifindex(host->ctx, rest.c_str()) == 0) {
        return -ENODEV;
    }
    if (word == "map" && !host->map(host->ctx, rest.c_str())) {
        return -ENOENT;
    }
    made.action = word == "drop" ? XDP_DROP : XDP_PASS;
    made.figures = word == "figures" ? static_cast<unsigned>(std::atoi(rest.c_str())) : host->cpus;
    made.closed = word == "closed" ? rest : "";
    *state = new instance(made);
    return 0;
}

void run(void *state, halfpoll_xdp_burst *burst)
{
    memset(burst->action, static_cast<instance *>(state)->action, burst->n);
}

void close(void *state)
{
    const instance *self = static_cast<instance *>(state);
    if (FILE *file = self->closed.empty() ? nullptr : fopen(self->closed.c_str(), "w")) {
        fclose(file);
    }
    delete self;
}

int show(void *state, char *text, size_t size)
{
    std::string all;
    for (unsigned i = 0; i < static_cast<instance *>(state)->figures; ++i) {
        all += "figure" + std::to_string(i) + " " + std::to_string(i) + "\n";
    }
    return snprintf(text, size, "%s", all.c_str());
}

} // namespace

HALFPOLL_XDP_PROGRAM("object", open, run, close, show);
