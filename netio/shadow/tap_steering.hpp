// SPDX-License-Identifier: BSD-3-Clause
#pragma once

namespace halfpoll
{

/// Makes the kernel choose the queue of a multi-queue TAP by a hash of the flow alone, by a BPF program. Without it the
/// kernel changes the queue of a flow when an answer comes by another one, and when no answer has come for 3 s; packets
/// in the former queue are overtaken then. False: the kernel does not take the program. `fd`: of one of the queues.
/// Control thread.
bool steer_by_flow(int fd) noexcept;

} // namespace halfpoll
