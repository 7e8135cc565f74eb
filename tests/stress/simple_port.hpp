// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/port.hpp>

#include <functional>

namespace halfpoll::test
{

/// A device that is always there, with defaults for everything that tests of the data path do not examine.
class simple_port : public port
{
public:
    void open(const port_options &) override {}
    void close() noexcept override {}
    link_state link() override { return {.up = true, .speed_mbps = 10'000}; }
    void set_mtu(std::uint32_t) override {}
    void set_promiscuous(bool) override {}
    port_counters counters() const override { return {}; }
    void set_event_handler(std::function<void(port_event)>) override {}
};

} // namespace halfpoll::test
