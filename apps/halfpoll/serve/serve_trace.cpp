// SPDX-License-Identifier: BSD-3-Clause
#include "serve.hpp"
#include "show_tables.hpp"

namespace halfpoll
{

nlohmann::json serve_trace(router &r, const std::string &what, const nlohmann::json &request)
{
    if (what == "begin") {
        const auto events = value_or(request, "events", std::string());
        const auto ms = value_or(request, "ms", 0U);
        r.trace().begin(events, ms);
        return {{"tracing", events}, {"ms", ms}};
    }
    if (what == "end") {
        return {{"folder", r.trace().end()}};
    }
    if (what == "forget") {
        r.trace().forget();
        return {{"forgotten", true}};
    }
    throw error("bad request: a trace has a \"begin\" and an \"end\", then \"forget\", not \"" + what + "\"");
}

} // namespace halfpoll
