// SPDX-License-Identifier: BSD-3-Clause
//
// XDP program `l4lb`: distributes the flows of virtual addresses over backends. The backends have those addresses
// themselves and answer the clients directly; the frame gets the backend's link address and is otherwise not changed.
//
//   vip ADDRESS tcp|udp PORT
//   backend NAME MAC [dev INTERFACE | map MAP KEY]    of the vip above; sent back out of the port, or to that target
//   flows NUMBER                                      that each CPU remembers (65536)
//   include PATH                                      more such lines
//
// README.md says which flows keep their backend when the backends change.
#include "flow_table.hpp"
#include "services.hpp"

#include <cstdio>

namespace halfpoll
{
namespace
{

constexpr std::uint8_t ICMP = 1, ICMP6 = 58;

/// The flow of a packet, as the balancer sees it. `to.version` is 0 if the packet has none.
struct flow {
    service_key to; ///< port 0: fragments, whose backend depends on the addresses alone
    ip_number client;
    std::uint16_t client_port = 0;
    bool started = false; ///< the flow has more than a SYN; a SYN must not replace another flow

    std::uint64_t hash() const
    {
        const std::uint64_t rest = std::uint64_t{to.port} << 32 | std::uint32_t{client_port} << 8 | to.protocol;
        return mix(mix(mix(mix(mix(mix(0, client.high), client.low), to.address.high), to.address.low), rest), ~rest);
    }
};

flow flow_of(const ip_view &ip)
{
    flow f{.to = {ip.destination, ip.version, ip.protocol}, .client = ip.source};
    if (ip.fragment) {
        return f;
    }
    if (!ip.has(4)) {
        return {};
    }
    f.client_port = load_be16(ip.payload);
    f.to.port = load_be16(ip.payload + 2);
    if (f.client_port == 0 || f.to.port == 0) {
        return {};
    }
    f.started = ip.protocol == UDP || (ip.has(14) && (ip.payload[13] & 0x02) == 0);
    return f;
}

/// An ICMP error follows the flow that it concerns. The packet that it quotes went in the other direction.
flow flow_of_error(const ip_view &ip)
{
    const std::uint8_t type = ip.has(8) && !ip.fragment ? ip.payload[0] : 0;
    const bool error = ip.version == 4 ? type == 3 || type == 11 || type == 12 : type >= 1 && type <= 4;
    const ip_view quoted = error ? parse_ip(ip.payload + 8, ip.end) : ip_view{};
    if (quoted.version != ip.version || quoted.source != ip.destination) {
        return {};
    }
    flow f = flow_of(quoted);
    std::swap(f.client, f.to.address);
    std::swap(f.client_port, f.to.port);
    f.started = false;
    return f;
}

flow classify(const ip_view &ip)
{
    switch (ip.protocol) {
    case TCP:
    case UDP:
        return flow_of(ip);
    case ICMP:
    case ICMP6:
        return (ip.version == 4) == (ip.protocol == ICMP) ? flow_of_error(ip) : flow{};
    default:
        return {};
    }
}

struct alignas(64) cpu_state {
    counter passed, sent, remembered, forgotten;
};

class l4lb
{
public:
    l4lb(const halfpoll_xdp_host &host, const char *config)
        : services_(host, config), tables_(share_flow_tables(host.cpus, services_.flows)), cpus_(host.cpus)
    {
        services_.make_places();
    }

    void run(halfpoll_xdp_burst &burst)
    {
        cpu_state &cpu = cpus_[burst.cpu];
        for (std::uint32_t i = 0; i < burst.n; ++i) {
            const flow f = classify(parse_frame(xdp_data(&burst, i), xdp_data_end(&burst, i)));
            const service *s = f.to.version == 0 ? nullptr : services_.find(f.to);
            (s ? cpu.sent : cpu.passed).add();
            burst.action[i] = XDP_PASS;
            if (s) {
                burst.action[i] = send(burst, i, choose(cpu, (*tables_)[burst.cpu], *s, f, burst.now));
            }
        }
    }

    int show(char *text, std::size_t size) const
    {
        return std::snprintf(text, size, "passed %llu\nsent %llu\nflows_remembered %llu\nflows_forgotten %llu\n",
                             total(cpus_, &cpu_state::passed), total(cpus_, &cpu_state::sent),
                             total(cpus_, &cpu_state::remembered), total(cpus_, &cpu_state::forgotten));
    }

private:
    static const backend &choose(cpu_state &cpu, flow_table &table, const service &s, const flow &f, std::uint64_t now)
    {
        const std::uint64_t hash = f.hash();
        const backend &wanted = s.pick(hash);
        if (f.to.port == 0) {
            return wanted;
        }
        if (std::uint32_t *id = table.find(hash, now)) {
            const backend *same = *id == wanted.id ? &wanted : s.find(*id);
            *id = same ? *id : wanted.id;
            return same ? *same : wanted;
        }
        if (f.started) {
            cpu.remembered.add();
            if (table.add(hash, wanted.id, now)) {
                cpu.forgotten.add();
            }
        }
        return wanted;
    }

    static std::uint8_t send(halfpoll_xdp_burst &burst, std::uint32_t i, const backend &to)
    {
        std::uint8_t *frame = xdp_data(&burst, i);
        std::copy_n(frame, 6, frame + 6);
        std::copy_n(to.mac.begin(), 6, frame);
        if (to.map) {
            return xdp_redirect_map(&burst, i, to.map, to.key, XDP_ABORTED);
        }
        return to.ifindex ? xdp_redirect(&burst, i, to.ifindex) : std::uint8_t{XDP_TX};
    }

    services services_;
    const std::shared_ptr<std::vector<flow_table>> tables_;
    std::vector<cpu_state> cpus_;
};

void run(void *state, halfpoll_xdp_burst *burst) { static_cast<l4lb *>(state)->run(*burst); }
void close(void *state) { delete static_cast<l4lb *>(state); }
int show(void *state, char *text, std::size_t size) { return static_cast<l4lb *>(state)->show(text, size); }

} // namespace
} // namespace halfpoll

HALFPOLL_XDP_PROGRAM("l4lb", halfpoll::open_program<halfpoll::l4lb>, halfpoll::run, halfpoll::close, halfpoll::show);
