// SPDX-License-Identifier: BSD-3-Clause
#include "bind_record.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace halfpoll
{

namespace
{

using nlohmann::json;

constexpr const char *FOLDER = "/run/halfpoll-bind";

std::string file_of(const std::string &address) { return std::string(FOLDER) + "/" + address; }

} // namespace

void store_record(host &on, const bind_record &record)
{
    on.store(
        file_of(record.address),
        json{{"driver", record.driver}, {"driver_override", record.driver_override}, {"interfaces", record.interfaces}}
                .dump() +
            "\n");
}

std::optional<bind_record> load_record(const host &on, const std::string &address)
{
    const json stored = json::parse(on.read(file_of(address)), nullptr, false);
    try {
        return bind_record{address, stored.at("driver"), stored.at("driver_override"), stored.at("interfaces")};
    } catch (const json::exception &) {
        return std::nullopt;
    }
}

void remove_record(host &on, const std::string &address) noexcept { on.remove(file_of(address)); }

std::string recorded_address(const host &on, const std::string &ifname)
{
    for (const std::string &address : on.list(FOLDER)) {
        const std::optional<bind_record> record = load_record(on, address);
        if (record && std::ranges::count(record->interfaces, ifname)) {
            return address;
        }
    }
    return {};
}

} // namespace halfpoll
