// SPDX-License-Identifier: BSD-3-Clause
//
// Headers of others that most sources include, for builds with -Db_pch=true: the compiler reads them once for each
// library. A source includes nevertheless what it uses; the builds without this header check that. None of DPDK's is
// here, because some sources define macros before they include those.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <unordered_map>
#include <utility>
#include <vector>
#ifdef __x86_64__
#include <x86intrin.h>
#endif
