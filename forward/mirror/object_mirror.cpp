// SPDX-License-Identifier: BSD-3-Clause
#include "object_mirror.hpp"

#include <algorithm>
#include <utility>
#include <vector>

namespace halfpoll
{

void object_mirror::apply(const nexthop_message &message)
{
    known_object &object = objects_[message.id];
    object.generation = loads_.generation;
    if (object.what != message) {
        const nexthop_message before = std::exchange(object.what, message);
        consequences_.object_changed(before, message);
    }
}

/// Forgets an object. The kernel removes the routes that use it, too, and does not always send a message for them
/// (nexthop_compat_mode).
void object_mirror::forget(std::uint32_t id)
{
    const auto found = objects_.find(id);
    if (found != objects_.end()) {
        const nexthop_message before = std::move(found->second.what);
        objects_.erase(found);
        consequences_.object_changed(before, {});
        loads_.stale.routes4 = loads_.stale.routes6 = true;
    }
}

void object_mirror::sweep()
{
    std::vector<std::uint32_t> gone;
    for (const auto &[id, object] : objects_) {
        if (object.generation != loads_.generation) {
            gone.push_back(id);
        }
    }
    std::ranges::for_each(gone, [this](std::uint32_t id) { forget(id); });
}

} // namespace halfpoll
