// SPDX-License-Identifier: BSD-3-Clause
#include "machine_commands.hpp"

#include "apps/halfpoll/nic/pci_bind.hpp"
#include "doctor.hpp"
#include "probe.hpp"

#include <iostream>
#include <memory>

namespace halfpoll
{

namespace
{

struct machine_arguments {
    std::string config;
    std::string root;
    std::vector<std::string> devices;
    bool json_output = false;
    bool force = false;
};

int check_command(const machine_arguments &args)
{
    const config cfg = load_config(args.config);
    const std::vector<finding> findings = probe_machine(cfg, host(), {severity::less, false});
    for (const finding &each : findings) {
        std::cerr << (each.level == severity::less ? "degraded: " : "") << each.text() << "\n";
    }
    if (stops(findings)) {
        return 1;
    }
    std::cout << args.config << ": good, " << cfg.ports.size() << " ports\n";
    return 0;
}

int doctor_command(const machine_arguments &args)
{
    const std::vector<finding> findings = examine(args.config, host(args.root));
    std::cout << (args.json_output ? doctor_json(findings).dump(2) + "\n" : doctor_text(findings));
    return stops(findings) ? 1 : 0;
}

int bind_command(const machine_arguments &args, decltype(pci_bind) &action)
{
    host on(args.root);
    action(on, args.devices, args.force, [](const std::string &line) { std::cout << line << "\n"; });
    return 0;
}

} // namespace

void add_machine_commands(CLI::App &app, std::function<int()> &command)
{
    const auto args = std::make_shared<machine_arguments>();
    const auto add = [&](const char *name, const char *what, std::function<int()> run) {
        CLI::App *sub = app.add_subcommand(name, what);
        sub->callback([&command, run = std::move(run)] { command = run; });
        return sub;
    };
    const auto add_root = [&](CLI::App *sub) {
        sub->add_option("--root", args->root, "Where /sys, /proc, /dev and /run are, if not in / (a container's host)");
    };
    const auto add_devices = [&](CLI::App *sub, const char *force) {
        sub->add_option("DEVICE", args->devices, "PCI address or interface")->required();
        sub->add_flag("--force", args->force, force);
        add_root(sub);
    };
    add("check", "Say what is wrong with a configuration, or missing on this machine to run it",
        [args] { return check_command(*args); })
        ->add_option("CONFIG", args->config, "Configuration file (TOML)")
        ->required();
    CLI::App *doctor = add("doctor", "Say what this machine lacks, how bad that is, and the command that mends it",
                           [args] { return doctor_command(*args); });
    doctor->add_option("CONFIG", args->config, "Configuration file (TOML); without one: what any would need");
    doctor->add_flag("--json", args->json_output, "JSON instead of text");
    add_root(doctor);
    add_devices(add("bind", "Give network devices to vfio-pci, for PCI ports; the kernel loses their interfaces",
                    [args] { return bind_command(*args, pci_bind); }),
                "Also if it carries the default route or an SSH session, or is a port of a bridge or bond");
    add_devices(add("unbind", "Give network devices back to their kernel drivers",
                    [args] { return bind_command(*args, pci_unbind); }),
                "Also if a program uses it; waits for its end");
}

} // namespace halfpoll
