// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "maglev.hpp"
#include "settings.hpp"

#include <array>

namespace halfpoll
{

inline constexpr std::uint8_t TCP = 6, UDP = 17;

struct backend {
    std::string name;
    std::uint32_t id; ///< value in flow tables; the same in every instance
    std::array<std::uint8_t, 6> mac;
    std::uint32_t ifindex = 0, key = 0;
    halfpoll_xdp_map *map = nullptr;
};

struct service_key {
    ip_number address;
    unsigned version = 0;
    std::uint8_t protocol = 0;
    std::uint16_t port = 0;
    auto operator<=>(const service_key &) const = default;
};

struct service {
    service_key key;
    std::vector<backend> backends; ///< sorted by id
    std::vector<std::uint16_t> places;

    const backend &pick(std::uint64_t flow) const { return backends[places[flow % MAGLEV_PLACES]]; }
    const backend *find(std::uint32_t id) const
    {
        const auto at = std::ranges::lower_bound(backends, id, {}, &backend::id);
        return at == backends.end() || at->id != id ? nullptr : &*at;
    }
};

/// The services that the configuration of l4lb names. make_places() must be called before they are used.
class services
{
public:
    services(const halfpoll_xdp_host &host, const char *config)
    {
        settings(config, "l4lb").each([&](settings_line &line) { read(host, line); });
        finish_last();
        std::ranges::sort(all_, {}, &service::key);
        if (all_.empty()) {
            throw settings_error("l4lb: there is no vip; add a line \"vip ADDRESS tcp|udp PORT\"");
        }
    }

    /// Makes the Maglev tables.
    void make_places()
    {
        for (service &s : all_) {
            std::vector<std::string> names;
            std::ranges::sort(s.backends, {}, &backend::id);
            std::ranges::transform(s.backends, std::back_inserter(names), &backend::name);
            s.places = make_maglev(names);
        }
    }

    /// The service of a packet, or for a fragment (port 0) the one with the lowest port; null: none.
    const service *find(const service_key &key) const
    {
        const auto at = std::ranges::lower_bound(all_, key, {}, &service::key);
        const bool found = at != all_.end() && at->key.address == key.address && at->key.version == key.version &&
                           at->key.protocol == key.protocol && (key.port == 0 || at->key.port == key.port);
        return found ? &*at : nullptr;
    }

    std::size_t flows = 65536;

private:
    void read(const halfpoll_xdp_host &host, settings_line &line)
    {
        if (line.take("vip")) {
            finish_last();
            read_vip(line);
        } else if (!all_.empty() && line.take("backend")) {
            read_backend(host, line, all_.back().backends);
        } else if (line.take("flows")) {
            flows = line.number("flows", 4, 1U << 28);
        } else {
            line.word("");
            line.fail("vip, backend (after a vip), flows or include");
        }
    }

    void read_vip(settings_line &line)
    {
        service s;
        const ip_range address = line.prefix();
        if (address.length != (address.version == 4 ? 32 : 128)) {
            line.fail("one address");
        }
        s.key = {address.first, address.version};
        s.key.protocol = line.take("tcp") ? TCP : line.take("udp") ? UDP : 0;
        if (s.key.protocol == 0) {
            line.word("tcp or udp");
            line.fail("tcp or udp");
        }
        s.key.port = static_cast<std::uint16_t>(line.number("a port", 1, 65535));
        if (std::ranges::find(all_, s.key, &service::key) != all_.end()) {
            line.fail("a vip that is not there yet");
        }
        all_.push_back(std::move(s));
    }

    static void read_backend(const halfpoll_xdp_host &host, settings_line &line, std::vector<backend> &backends)
    {
        backend b{.name = line.word("a name")};
        b.id = static_cast<std::uint32_t>(hash_text(b.name, 3));
        if (std::ranges::find(backends, b.id, &backend::id) != backends.end()) {
            line.fail("another name than those before");
        }
        b.mac = line.mac();
        if (line.take("dev")) {
            b.ifindex = host.ifindex(host.ctx, line.word("an interface").c_str());
        } else if (line.take("map")) {
            b.map = host.map(host.ctx, line.word("a map").c_str());
            b.key = b.map ? static_cast<std::uint32_t>(line.number("a key", 0, UINT32_MAX)) : 0;
        } else {
            return backends.push_back(std::move(b));
        }
        if (b.ifindex == 0 && !b.map) {
            line.fail("one that there is");
        }
        backends.push_back(std::move(b));
    }

    void finish_last()
    {
        if (!all_.empty() && (all_.back().backends.empty() || all_.back().backends.size() > 65535)) {
            throw settings_error("l4lb: a vip needs 1 to 65535 lines \"backend NAME MAC\" after it");
        }
    }

    std::vector<service> all_;
};

} // namespace halfpoll
