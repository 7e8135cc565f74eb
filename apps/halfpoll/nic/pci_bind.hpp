// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "apps/halfpoll/host/host.hpp"

#include <functional>
#include <string>
#include <vector>

namespace halfpoll
{

/// Receives one line of output for people.
using tell_fn = std::function<void(const std::string &)>;

/// Unbinds network devices from their kernel drivers and binds them to vfio-pci; records the former drivers. `names`:
/// PCI addresses or interfaces. All devices are checked before the first is changed. Unless `force`, all are refused if
/// a check finds a device that carries a default route or an SSH session, belongs to a bridge or bond, is in another
/// network namespace (so its use is unknown), has virtual functions in use, has no IOMMU, or shares its IOMMU group
/// with devices of the kernel. Devices that are not network devices are always refused. Loads vfio-pci if necessary. A
/// device that is already bound to vfio-pci stays bound. Throws `error`; the device that failed is then returned to its
/// former driver, as far as possible.
void pci_bind(host &on, const std::vector<std::string> &names, bool force, const tell_fn &tell);

/// Returns devices to the drivers that pci_bind() took them from. If there is no record (after a reboot, or another
/// tool bound them), they go to any driver that claims them. `names` may be the interfaces that the devices had.
/// Refused while a program has the device open, unless `force`, which waits for the program. A device that is not bound
/// to vfio-pci keeps its driver. Throws `error`.
void pci_unbind(host &on, const std::vector<std::string> &names, bool force, const tell_fn &tell);

} // namespace halfpoll
