// SPDX-License-Identifier: BSD-3-Clause
//
// runtime/base/precompiled.hpp, and what most unit tests include besides.
#pragma once

#include "../../runtime/base/precompiled.hpp"

#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <random>
#include <sstream>
