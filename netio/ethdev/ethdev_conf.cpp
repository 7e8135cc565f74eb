// SPDX-License-Identifier: BSD-3-Clause
#include "ethdev_conf.hpp"

#include <halfpoll/flow_hash.hpp>

#include <rte_mbuf.h>

namespace halfpoll
{
namespace
{

void choose_rss(rte_eth_conf &conf, const port_options &options, const rte_eth_dev_info &dev)
{
    const std::uint64_t hash = dev.flow_type_rss_offloads & (RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP);
    if (options.rx_queues < 2 || hash == 0) {
        return;
    }
    conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
    conf.rxmode.offloads |= dev.rx_offload_capa & RTE_ETH_RX_OFFLOAD_RSS_HASH; // saves flow_hash_burst() its work
    rte_eth_rss_conf &rss = conf.rx_adv_conf.rss_conf;
    rss.rss_hf = hash;
    if (dev.hash_key_size != 0) {                                         // else the driver uses its own key
        rss.rss_key = const_cast<std::uint8_t *>(flow_hash_key().data()); // only read
        rss.rss_key_len = dev.hash_key_size;
    }
}

/// Lets a frame that does not fit one buffer be received and sent in several segments.
void choose_segments(rte_eth_conf &conf, const std::string &name, const port_options &options,
                     const rte_eth_dev_info &dev)
{
    const std::uint64_t chains = dev.tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
    const std::uint32_t room = rte_pktmbuf_data_room_size(options.pool) - RTE_PKTMBUF_HEADROOM;
    conf.txmode.offloads |= chains;
    if (options.mtu + RTE_ETHER_HDR_LEN + RTE_VLAN_HLEN <= room) {
        return;
    }
    if (!(dev.rx_offload_capa & RTE_ETH_RX_OFFLOAD_SCATTER) || chains == 0) {
        throw error(name + ": an MTU of " + std::to_string(options.mtu) + " needs packet buffers of more than " +
                    std::to_string(room) + " bytes, as " + dev.driver_name + " cannot " +
                    (chains == 0 ? "send chains of them" : "scatter"));
    }
    conf.rxmode.offloads |= RTE_ETH_RX_OFFLOAD_SCATTER;
}

} // namespace

rte_eth_conf ethdev_conf(const std::string &name, const port_options &options, const rte_eth_dev_info &dev,
                         ethdev_interrupts interrupts)
{
    rte_eth_conf conf{};
    conf.intr_conf.rxq = interrupts.rxq;
    conf.intr_conf.lsc = interrupts.lsc;
    conf.intr_conf.rmv = (*dev.dev_flags & RTE_ETH_DEV_INTR_RMV) != 0;
    conf.rxmode.mtu = options.mtu;
    choose_segments(conf, name, options, dev);
    choose_rss(conf, options, dev);
    return conf;
}

std::vector<rte_eth_rss_reta_entry64> ethdev_reta(unsigned size, unsigned queues)
{
    std::vector<rte_eth_rss_reta_entry64> table((size + RTE_ETH_RETA_GROUP_SIZE - 1) / RTE_ETH_RETA_GROUP_SIZE);
    for (unsigned i = 0; i < size; ++i) {
        rte_eth_rss_reta_entry64 &group = table[i / RTE_ETH_RETA_GROUP_SIZE];
        group.mask |= std::uint64_t{1} << (i % RTE_ETH_RETA_GROUP_SIZE);
        group.reta[i % RTE_ETH_RETA_GROUP_SIZE] = static_cast<std::uint16_t>(i % queues);
    }
    return table;
}

} // namespace halfpoll
