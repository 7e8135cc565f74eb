// SPDX-License-Identifier: BSD-3-Clause
#include "pci_bind.hpp"

#include "bind_record.hpp"
#include "link_use.hpp"
#include "pci_device.hpp"

#include <halfpoll/error.hpp>

#include <algorithm>
#include <cerrno>
#include <optional>

namespace halfpoll
{

namespace
{

constexpr const char *DRIVERS = "/sys/bus/pci/drivers/";
constexpr const char *DRIVERS_PROBE = "/sys/bus/pci/drivers_probe";

/// NO_OVERRIDE is what driver_override contains when there is none; writing CLEAR removes an override.
constexpr const char *NO_OVERRIDE = "(null)";
constexpr const char *CLEAR = "\n";

void write_sysfs(host &on, const std::string &file, const std::string &text)
{
    if (const int err = on.write_error(file, text)) {
        throw_errno(err, "cannot write " + file + (err == EACCES || err == EPERM ? " (run it as root)" : ""));
    }
}

/// Finds the device of a name. Throws `error` if it does not exist.
pci_device find_device(const host &on, const std::string &name)
{
    std::string address = full_pci_address(name);
    if (address.empty()) {
        address = pci_address_of_interface(on, name);
    }
    if (address.empty()) {
        address = recorded_address(on, name);
    }
    if (address.empty()) {
        throw error(name + (on.exists("/sys/class/net/" + name)
                                ? ": the interface is not on a PCI device; use it as \"af_xdp:" + name + "\""
                                : ": no such interface, and no PCI address (see `ip link`, `lspci -D`)"));
    }
    pci_device device(on, address);
    if (!device.exists()) {
        throw error(address + ": no such PCI device (see `lspci -D`)");
    }
    return device;
}

std::vector<pci_device> find_devices(const host &on, const std::vector<std::string> &names)
{
    std::vector<pci_device> devices;
    for (const std::string &name : names) {
        pci_device device = find_device(on, name);
        if (std::ranges::find(devices, device.address(), &pci_device::address) == devices.end()) {
            devices.push_back(std::move(device));
        }
    }
    return devices;
}

bool has_driver(const host &on, const std::string &driver) { return on.exists(DRIVERS + driver); }

std::string or_none(const std::string &driver) { return driver.empty() ? "no driver" : driver; }

/// Restores a device's override and unbinds it from vfio-pci. Then binds it to its former driver, or lets all drivers
/// probe it if the former driver is unknown or missing.
void give_back(host &on, const pci_device &device, const std::optional<bind_record> &record)
{
    const std::string override = record ? record->driver_override : "";
    write_sysfs(on, device.path("driver_override"), override.empty() ? CLEAR : override);
    if (device.driver() == VFIO_PCI) {
        write_sysfs(on, device.path("driver/unbind"), device.address());
    }
    if (!device.driver().empty() || (record && record->driver.empty())) {
        return;
    }
    const bool known = record && (has_driver(on, record->driver) || on.load_module(record->driver));
    if (!known || on.write_error(DRIVERS + record->driver + "/bind", device.address()) != 0) {
        write_sysfs(on, DRIVERS_PROBE, device.address());
    }
}

// ---- bind ----

/// Returns the devices of the IOMMU group that the kernel would still hold after `devices` are bound.
std::string held_beside(const pci_device &device, const std::vector<pci_device> &devices)
{
    std::string held;
    for (const pci_device &other : device.group_in_kernel()) {
        if (std::ranges::find(devices, other.address(), &pci_device::address) == devices.end()) {
            held += (held.empty() ? "" : ", ") + other.label();
        }
    }
    return held;
}

/// Returns the reasons against taking a device from the kernel.
std::vector<std::string> objections(const host &on, const pci_device &device, const std::vector<pci_device> &devices)
{
    std::vector<std::string> found;
    const std::vector<std::string> interfaces = device.interfaces();
    for (const std::string &ifname : interfaces) {
        for (const std::string &use : uses_of_link(on, ifname)) {
            found.push_back(ifname + " " + use);
        }
    }
    const bool hidden = interfaces.empty() ||
                        !std::ranges::all_of(interfaces, [&](const auto &name) { return is_link_here(on, name); });
    if (!device.driver().empty() && hidden) {
        found.push_back("its interface is in another network namespace, so what it carries cannot be seen from here");
    }
    const std::string functions = on.read(device.path("sriov_numvfs"));
    if (!functions.empty() && functions != "0") {
        found.push_back("has " + functions + " virtual functions (sriov_numvfs), which would go");
    }
    if (device.iommu_group().empty()) {
        found.push_back("no IOMMU guards it, so vfio will not drive it (`halfpoll doctor` says what to do)");
    }
    if (const std::string held = held_beside(device, devices); !held.empty()) {
        found.push_back("its IOMMU group " + device.iommu_group() + " also holds " + held +
                        "; vfio drives it only if they are bound too");
    }
    return found;
}

void refuse_objectionable(const host &on, const std::vector<pci_device> &devices)
{
    std::string text;
    for (const pci_device &device : devices) {
        if (device.driver() == VFIO_PCI) {
            continue;
        }
        for (const std::string &objection : objections(on, device, devices)) {
            text += device.address() + ": " + objection + "\n";
        }
    }
    if (!text.empty()) {
        throw error(text + "nothing was changed; --force binds all the same");
    }
}

void need_vfio_pci(host &on, const tell_fn &tell)
{
    if (has_driver(on, VFIO_PCI)) {
        return;
    }
    if (!on.load_module(VFIO_PCI) || !has_driver(on, VFIO_PCI)) {
        throw error("the driver vfio-pci is not there, and modprobe vfio-pci does not bring it: run it as root, on a "
                    "kernel that has the module (CONFIG_VFIO_PCI)");
    }
    tell("loaded the module vfio-pci");
}

void move_to_vfio(host &on, const pci_device &device)
{
    write_sysfs(on, device.path("driver_override"), VFIO_PCI);
    if (!device.driver().empty()) {
        write_sysfs(on, device.path("driver/unbind"), device.address());
    }
    write_sysfs(on, DRIVERS_PROBE, device.address());
    if (device.driver() != VFIO_PCI) {
        throw error("vfio-pci does not take it (`dmesg` says why)");
    }
}

/// Undoes a failed bind as far as possible; returns the resulting state of the device as a text.
std::string undo_bind(host &on, const pci_device &device, const bind_record &record)
{
    try {
        give_back(on, device, record);
    } catch (const error &) {
        // The text below names the driver that the device is bound to.
    }
    const std::string driver = device.driver();
    if (driver == record.driver) {
        remove_record(on, device.address());
    }
    return "it is bound to " + or_none(driver) + (driver == record.driver ? " as before" : " now");
}

void bind_one(host &on, const pci_device &device, const tell_fn &tell)
{
    const std::string before = device.driver();
    if (before == VFIO_PCI) {
        tell(device.address() + ": bound to vfio-pci already");
        return;
    }
    const std::string override = on.read(device.path("driver_override"));
    const bind_record record{device.address(), before, override == NO_OVERRIDE || override == VFIO_PCI ? "" : override,
                             device.interfaces()};
    store_record(on, record);
    try {
        move_to_vfio(on, device);
    } catch (const error &e) {
        const std::string now = undo_bind(on, device, record);
        throw error(device.address() + ": " + e.what() + "; " + now);
    }
    std::string gone;
    for (const std::string &ifname : record.interfaces) {
        gone += (gone.empty() ? "" : ", ") + ifname;
    }
    tell(device.address() + ": " + or_none(before) + " -> vfio-pci" +
         (gone.empty() ? "" : "; " + gone + " returns with `halfpoll unbind " + device.address() + "`"));
}

// ---- unbind ----

void refuse_busy(const host &on, const pci_device &device)
{
    const std::string file = "/dev/vfio/" + device.iommu_group();
    if (!device.iommu_group().empty() && on.open_error(file) == EBUSY) {
        throw error(device.address() + ": a program has it open (`fuser " + file +
                    "` names it): stop that first (halfpoll stop); --force waits for it");
    }
}

void unbind_one(host &on, const pci_device &device, bool force, const tell_fn &tell)
{
    const std::string before = device.driver();
    if (before != VFIO_PCI) {
        if (on.read(device.path("driver_override")) == VFIO_PCI) {
            write_sysfs(on, device.path("driver_override"), CLEAR);
        }
        remove_record(on, device.address());
        tell(device.address() + ": bound to " + or_none(before) + ", not to vfio-pci");
        return;
    }
    if (!force) {
        refuse_busy(on, device);
    }
    const std::optional<bind_record> record = load_record(on, device.address());
    give_back(on, device, record);
    if (device.driver() == VFIO_PCI) {
        throw error(device.address() + ": vfio-pci claims it by its id: take that out of `options vfio-pci ids=` in "
                                       "/etc/modprobe.d, or rmmod vfio-pci");
    }
    if (record && device.driver() != record->driver) {
        throw error(device.address() + ": " + record->driver +
                    ", its former driver, does not take it: it is bound to " + or_none(device.driver()) +
                    " now (modprobe " + record->driver + ")");
    }
    remove_record(on, device.address());
    tell(device.label().insert(device.address().size(), ": vfio-pci ->"));
}

} // namespace

void pci_bind(host &on, const std::vector<std::string> &names, bool force, const tell_fn &tell)
{
    const std::vector<pci_device> devices = find_devices(on, names);
    for (const pci_device &device : devices) {
        if (!device.is_network()) {
            throw error(device.address() + ": no network device (class " + on.read(device.path("class")) + ")");
        }
    }
    if (!force) {
        refuse_objectionable(on, devices);
    }
    need_vfio_pci(on, tell);
    for (const pci_device &device : devices) {
        bind_one(on, device, tell);
    }
}

void pci_unbind(host &on, const std::vector<std::string> &names, bool force, const tell_fn &tell)
{
    for (const pci_device &device : find_devices(on, names)) {
        unbind_one(on, device, force, tell);
    }
}

} // namespace halfpoll
