// SPDX-License-Identifier: BSD-3-Clause
//
// The whole API (docs/embedding.md). The other installed headers are not part of it; they say so in their first lines.
#pragma once

#include <halfpoll/af_xdp.hpp>
#include <halfpoll/autoscale_policy.hpp>
#include <halfpoll/autoscaler.hpp>
#include <halfpoll/backlog.hpp>
#include <halfpoll/bh_work.hpp>
#include <halfpoll/call_single.hpp>
#include <halfpoll/drop_reason.hpp>
#include <halfpoll/eal.hpp>
#include <halfpoll/error.hpp>
#include <halfpoll/ethdev.hpp>
#include <halfpoll/flow_hash.hpp>
#include <halfpoll/hrtimer.hpp>
#include <halfpoll/hybrid_policy.hpp>
#include <halfpoll/irq_work.hpp>
#include <halfpoll/ktime.hpp>
#include <halfpoll/local_lock.hpp>
#include <halfpoll/napi.hpp>
#include <halfpoll/napi_alloc_cache.hpp>
#include <halfpoll/net_core.hpp>
#include <halfpoll/net_cpu.hpp>
#include <halfpoll/net_device.hpp>
#include <halfpoll/netns.hpp>
#include <halfpoll/port.hpp>
#include <halfpoll/rcu.hpp>
#include <halfpoll/rps.hpp>
#include <halfpoll/runtime.hpp>
#include <halfpoll/runtime_env.hpp>
#include <halfpoll/slow_path.hpp>
#include <halfpoll/softirq.hpp>
#include <halfpoll/softnet_data.hpp>
#include <halfpoll/tasklet.hpp>
#include <halfpoll/trace.hpp>
#include <halfpoll/wait_engine.hpp>
#include <halfpoll/workqueue.hpp>
#include <halfpoll/xdp.hpp>
#include <halfpoll/xdp_map.hpp>
#include <halfpoll/xdp_program.h>
#include <halfpoll/xdp_socket.hpp>
