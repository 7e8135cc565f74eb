// SPDX-License-Identifier: BSD-3-Clause
#pragma once

namespace halfpoll
{

struct softnet_data;

/// A function that one thread asks another CPU to run (the kernel's call_single_data). Owned by the caller until it
/// ran.
struct call_single_data {
    void (*func)(softnet_data &, void *arg) noexcept = nullptr;
    void *arg = nullptr;
    call_single_data *next = nullptr;
};

} // namespace halfpoll
