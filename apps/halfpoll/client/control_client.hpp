// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/error.hpp>

#include <nlohmann/json.hpp>

#include <string>

namespace halfpoll
{

/// Sends one request to a running halfpoll and returns its reply. Throws `error` if no process listens on `path`, if no
/// reply arrives within `patience` seconds, or if the reply is {"error": …}.
nlohmann::json control_request(const std::string &path, const nlohmann::json &request, unsigned patience = 10);

/// Asks a running halfpoll to stop and waits until it has ended, at most 10 s. Throws `error`.
void control_stop(const std::string &path);

} // namespace halfpoll
