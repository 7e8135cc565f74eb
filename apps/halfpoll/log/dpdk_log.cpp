// SPDX-License-Identifier: BSD-3-Clause
#include "dpdk_log.hpp"
#include "log.hpp"

#include <rte_log.h>

#include <cstdio>

namespace halfpoll
{

namespace
{

log_level level_of_message()
{
    const int level = rte_log_cur_msg_loglevel();
    return level <= static_cast<int>(RTE_LOG_ERR)       ? log_level::error
           : level <= static_cast<int>(RTE_LOG_WARNING) ? log_level::warning
           : level <= static_cast<int>(RTE_LOG_INFO)    ? log_level::info
                                                        : log_level::debug;
}

ssize_t take_message(void *, const char *text, std::size_t length)
{
    std::string line(text, length);
    line.erase(line.find_last_not_of(" \r\n") + 1);
    if (!line.empty()) {
        log_line(level_of_message(), "dpdk", "DPDK: " + line);
    }
    return static_cast<ssize_t>(length);
}

} // namespace

void redirect_dpdk_log()
{
    const cookie_io_functions_t functions{nullptr, take_message, nullptr, nullptr};
    if (FILE *stream = fopencookie(nullptr, "w", functions)) { // on failure DPDK keeps stderr
        rte_openlog_stream(stream);
    }
}

} // namespace halfpoll
