// SPDX-License-Identifier: BSD-3-Clause
#include "shadow_features.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <vector>

namespace halfpoll
{

namespace
{

bool ask(int control, const std::string &name, void *request)
{
    ifreq ifr{};
    name.copy(ifr.ifr_name, IFNAMSIZ - 1);
    ifr.ifr_data = static_cast<char *>(request);
    return ioctl(control, SIOCETHTOOL, &ifr) == 0;
}

/// A structure T of the kernel that is followed by an array.
template <typename T>
class request
{
public:
    request(std::uint32_t command, std::size_t following) : words_((sizeof(T) + following + 7) / 8)
    {
        (*this)->cmd = command;
    }
    T *operator->() { return reinterpret_cast<T *>(words_.data()); }

private:
    std::vector<std::uint64_t> words_;
};

/// Number of features; 0: unknown.
unsigned count_features(int control, const std::string &name)
{
    request<ethtool_sset_info> info(ETHTOOL_GSSET_INFO, sizeof(std::uint32_t));
    info->sset_mask = 1ULL << ETH_SS_FEATURES;
    return ask(control, name, info.operator->()) && info->sset_mask != 0 ? info->data[0] : 0;
}

bool is_active(int control, const std::string &name, const char *feature)
{
    const unsigned count = count_features(control, name);
    request<ethtool_gstrings> names(ETHTOOL_GSTRINGS, std::size_t{count} * ETH_GSTRING_LEN);
    request<ethtool_gfeatures> blocks(ETHTOOL_GFEATURES, (count + 31) / 32 * sizeof(ethtool_get_features_block));
    names->string_set = ETH_SS_FEATURES;
    names->len = count;
    blocks->size = (count + 31) / 32;
    if (count == 0 || !ask(control, name, names.operator->()) || !ask(control, name, blocks.operator->())) {
        return false;
    }
    for (unsigned i = 0; i < count; ++i) {
        const auto *each = reinterpret_cast<const char *>(names->data + std::size_t{i} * ETH_GSTRING_LEN);
        if (std::strncmp(each, feature, ETH_GSTRING_LEN) == 0) {
            return (blocks->features[i / 32].active >> i % 32 & 1) != 0;
        }
    }
    return false;
}

} // namespace

gro_kinds gro_of(int control, const std::string &name)
{
    ethtool_value gro{ETHTOOL_GGRO, 0};
    const bool on = ask(control, name, &gro) && gro.data != 0;
    return {.tcp = on, .udp = on && is_active(control, name, "rx-udp-gro-forwarding")};
}

} // namespace halfpoll
