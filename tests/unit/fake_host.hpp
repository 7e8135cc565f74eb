// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "apps/halfpoll/host/host.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

namespace halfpoll::test
{

namespace fs = std::filesystem;

/// A new folder, removed by the destructor.
class scratch_folder
{
public:
    scratch_folder()
    {
        std::string name = (fs::temp_directory_path() / "hp-doctor-XXXXXX").string();
        if (!mkdtemp(name.data())) {
            throw std::runtime_error("mkdtemp " + name);
        }
        path_ = name;
    }
    ~scratch_folder()
    {
        std::error_code ignored;
        fs::remove_all(path_, ignored);
    }
    scratch_folder(const scratch_folder &) = delete;
    scratch_folder &operator=(const scratch_folder &) = delete;
    const std::string &path() const { return path_; }

private:
    std::string path_;
};

/// A machine that meets all requirements: NIC 0000:03:00.0 is bound to vfio-pci in IOMMU group 7 and 0000:03:00.1
/// (enp3s0f1) to igb in group 8, CPU 1 is isolated, and an interface r0 has everything that AF_XDP can use. Its PCI bus
/// binds and unbinds as the kernel's does. Each test breaks a part of it.
class fake_host : private scratch_folder, public host
{
public:
    fake_host() : host(scratch_folder::path())
    {
        make_kernel();
        make_memory();
        make_pci();
    }

    // ---- files ----
    void put(const std::string &file, const std::string &text)
    {
        fs::create_directories(real(file).parent_path());
        std::ofstream(real(file)) << text << "\n";
    }
    void erase(const std::string &file) { fs::remove_all(real(file)); }
    void link(const std::string &file, const std::string &target)
    {
        fs::create_directories(real(file).parent_path());
        fs::remove(real(file));
        fs::create_symlink(target, real(file));
    }
    /// Adds a device to the PCI bus. `driver`: the driver that it is bound to. `native`: the driver that binds it
    /// without an override.
    void add_pci(const std::string &address, const std::string &driver, const std::string &native,
                 const std::string &group, const std::string &ifname = "")
    {
        const std::string device = DEVICES + address;
        put(device + "/class", "0x020000");
        put(device + "/numa_node", "0");
        put(device + "/driver_override", "(null)");
        put(device + "/sriov_numvfs", "0");
        natives[address] = native;
        if (!ifname.empty()) {
            interfaces[address] = ifname;
        }
        if (!group.empty()) {
            link("/sys/kernel/iommu_groups/" + group + "/devices/" + address, "../../../../bus/pci/devices/" + address);
            link(device + "/iommu_group", "../../../../kernel/iommu_groups/" + group);
            put("/dev/vfio/" + group, "");
        }
        for (const std::string &each : {driver, native}) {
            if (!each.empty()) {
                add_driver(each);
            }
        }
        attach(address, driver);
    }
    void add_driver(const std::string &driver)
    {
        put(DRIVERS + driver + "/bind", "");
        put(DRIVERS + driver + "/unbind", "");
    }
    std::string driver_of(const std::string &address) const { return link_name(DEVICES + address + "/driver"); }

    // ---- results of system calls ----
    std::set<unsigned> dropped; ///< capabilities
    std::uint64_t memlock = UINT64_MAX, files = UINT64_MAX, addresses_limit = UINT64_MAX;
    std::map<std::string, int> accesses; ///< errno by file or folder
    std::map<std::string, std::string> env;
    int tun = 0, vhost = 0, uring = 0, map = 0, fifo = 0;
    std::map<int, int> sockets;        ///< errno by family
    std::map<std::string, int> opens;  ///< errno by file
    std::map<std::string, int> writes; ///< errno by file
    std::vector<link_facts> link_list{{"lo", 1, 0, 0, "", ""}, {"r0", 5, 0, 0, "", ""}};
    std::optional<std::uint64_t> xdp_features = XDP_FEATURE_BASIC | XDP_FEATURE_REDIRECT | XDP_FEATURE_ZEROCOPY;
    unsigned rx_queues = 4;
    std::vector<std::string> default_routes{"lo"};
    std::map<std::string, std::string> towards;    ///< interface by address
    std::map<std::string, std::string> addresses;  ///< interface by address
    std::set<std::string> loadable;                ///< modules that modprobe finds
    std::map<std::string, std::string> natives;    ///< driver that claims a PCI address
    std::map<std::string, std::string> interfaces; ///< by PCI address, while its native driver has the device
    bool vfio_refuses = false;
    std::vector<std::string> log; ///< writes to sysfs, as "file <- text"

    bool capable(unsigned capability) const override { return !dropped.contains(capability); }
    std::uint64_t memlock_limit() const override { return memlock; }
    std::uint64_t file_limit() const override { return files; }
    std::uint64_t address_limit() const override { return addresses_limit; }
    int write_access(const std::string &path) const override { return value_or(accesses, path, 0); }
    std::string environment(const char *name) const override
    {
        const auto it = env.find(name);
        return it == env.end() ? "" : it->second;
    }
    std::string program() const override { return "/usr/bin/halfpoll"; }
    int tun_error() const override { return tun; }
    int vhost_error() const override { return vhost; }
    int io_uring_error() const override { return uring; }
    int socket_error(int family, int, int) const override { return value_or(sockets, family, 0); }
    int xsk_map_error() const override { return map; }
    int fifo_error(int) const override { return fifo; }
    int open_error(const std::string &file) const override
    {
        return opens.contains(file) ? opens.at(file) : host::open_error(file);
    }
    bool load_module(const std::string &name) override
    {
        if (!loadable.contains(name)) {
            return false;
        }
        add_driver(name);
        return true;
    }
    std::vector<link_facts> links() const override { return link_list; }
    std::optional<std::uint64_t> link_xdp_features(int) const override { return xdp_features; }
    unsigned link_rx_queues(const std::string &) const override { return rx_queues; }
    std::vector<std::string> default_route_links() const override { return default_routes; }
    std::string link_towards(const std::string &address) const override
    {
        return value_or(towards, address, std::string());
    }
    std::string link_of_address(const std::string &address) const override
    {
        return value_or(addresses, address, std::string());
    }
    int write_error(const std::string &file, const std::string &text) override;

private:
    static constexpr const char *DEVICES = "/sys/bus/pci/devices/";
    static constexpr const char *DRIVERS = "/sys/bus/pci/drivers/";

    template <typename K, typename V>
    static V value_or(const std::map<K, V> &values, const K &key, const V &fallback)
    {
        const auto it = values.find(key);
        return it == values.end() ? fallback : it->second;
    }
    fs::path real(const std::string &file) const { return scratch_folder::path() + file; }
    void make_kernel();
    void make_memory();
    void make_pci();
    void attach(const std::string &address, const std::string &driver);
    void detach(const std::string &address);
    void probe(const std::string &address);
};

inline void fake_host::make_kernel()
{
    put("/proc/sys/kernel/osrelease", "6.1.0-18-amd64");
    put("/proc/sys/kernel/io_uring_disabled", "0");
    put("/proc/sys/kernel/sched_rt_runtime_us", "-1");
    put("/proc/sys/kernel/sched_rt_period_us", "1000000");
    put("/proc/sys/net/ipv4/ip_forward", "1");
    put("/proc/sys/net/ipv6/conf/all/forwarding", "1");
    put("/proc/net/tcp", "  sl  local_address rem_address   st");
    put("/proc/net/tcp6", "  sl  local_address rem_address   st");
    put("/sys/devices/system/cpu/isolated", "1-2");
}

inline void fake_host::make_memory()
{
    put("/proc/meminfo", "MemTotal:       16000000 kB\nMemAvailable:    8000000 kB\nHugePages_Total:     512\n"
                         "Hugepagesize:       2048 kB");
    put("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "512");
    put("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never");
    for (const std::string node : {"0", "1"}) {
        const std::string folder = "/sys/devices/system/node/node" + node;
        put(folder + "/cpulist", node == "0" ? "0-2,5" : "3-4");
        put(folder + "/hugepages/hugepages-2048kB/free_hugepages", "256");
    }
}

inline void fake_host::make_pci()
{
    put("/sys/bus/pci/drivers_probe", "");
    put("/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "N");
    put("/proc/interrupts", "  1:  0  9  IR-IO-APIC   1-edge  i8042\n 25:  0  0  IR-PCI-MSI 262144-edge  eth0");
    put("/dev/vfio/vfio", "");
    add_pci("0000:03:00.0", "vfio-pci", "igb", "7");
    add_pci("0000:03:00.1", "igb", "igb", "8", "enp3s0f1");
    link_list.push_back({"enp3s0f1", 9, 0, 0, "", ""});
}

inline void fake_host::attach(const std::string &address, const std::string &driver)
{
    const std::string device = DEVICES + address;
    if (driver.empty()) {
        return;
    }
    link(device + "/driver", "../../drivers/" + driver);
    if (driver != "vfio-pci" && interfaces.contains(address)) {
        const std::string &name = interfaces[address];
        fs::create_directories(real(device + "/net/" + name));
        link("/sys/class/net/" + name + "/device", "../../../bus/pci/devices/" + address);
    }
}

inline void fake_host::detach(const std::string &address)
{
    erase(DEVICES + address + "/driver");
    erase(DEVICES + address + "/net");
    if (interfaces.contains(address)) {
        erase("/sys/class/net/" + interfaces[address]);
    }
}

/// As the kernel's drivers_probe: driver_override decides, else the driver that knows the device.
inline void fake_host::probe(const std::string &address)
{
    const std::string wish = read(DEVICES + address + "/driver_override");
    const std::string driver = wish == "(null)" ? natives[address] : wish;
    if (driver_of(address).empty() && exists(DRIVERS + driver) && !(driver == "vfio-pci" && vfio_refuses)) {
        attach(address, driver);
    }
}

inline int fake_host::write_error(const std::string &file, const std::string &text)
{
    log.push_back(file + " <- " + text);
    if (writes.contains(file)) {
        return writes[file];
    }
    if (!exists(file)) {
        return ENOENT;
    }
    const std::string driver = fs::path(resolve(file)).parent_path().filename();
    if (file.ends_with("/driver_override")) {
        put(file, text == "\n" ? "(null)" : text);
    } else if (file.ends_with("/unbind")) {
        detach(text);
    } else if (file.ends_with("/bind")) {
        attach(text, driver);
    } else if (file.ends_with("/drivers_probe")) {
        probe(text);
    }
    return 0;
}

} // namespace halfpoll::test
