// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "apps/halfpoll/host/host.hpp"

#include <functional>
#include <string>
#include <vector>

namespace halfpoll
{

/// Takes one line for people.
using tell_fn = std::function<void(const std::string &)>;

/// Takes network devices from their kernel drivers and gives them to vfio-pci, remembering the drivers. `names`: PCI
/// addresses or interfaces. All are looked at before the first is touched, and refused together unless `force`: those
/// that carry a default route or an SSH session or belong to a bridge or bond, or may because they are in another
/// network namespace; that have virtual functions in use, no IOMMU, or share their IOMMU group with devices of the
/// kernel. Other devices than network ones are always refused. Loads vfio-pci if it is not there. What is bound already
/// stays so. Throws `error`; the device it is about is then with its former driver again.
void pci_bind(host &on, const std::vector<std::string> &names, bool force, const tell_fn &tell);

/// Gives devices back to the drivers that pci_bind() took them from; if that is not known (a reboot, another tool), to
/// whichever driver claims them. `names` may be the interfaces that they were. Refused while a program has the device
/// open, unless `force`: then it waits for the program. What is not bound to vfio-pci stays so. Throws `error`.
void pci_unbind(host &on, const std::vector<std::string> &names, bool force, const tell_fn &tell);

} // namespace halfpoll
