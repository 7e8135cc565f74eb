// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>

/// The object of `type` whose member `member` is `ref`.
#define HALFPOLL_CONTAINER_OF(ref, type, member)                                                                       \
    (*reinterpret_cast<type *>(reinterpret_cast<char *>(&(ref)) - offsetof(type, member)))
