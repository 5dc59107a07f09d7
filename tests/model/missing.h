// What a test needs and may not find: a peer program, or something of the machine's (io_uring,
// O_DIRECT, a loop device). The test is skipped then. Under VARVE_REQUIRE a missing program is a
// failure; under VARVE_REQUIRE_MACHINE, which tests/run.sh sets after asking the machine, so is the
// rest.
#pragma once

#include <cstdlib>

#include <gtest/gtest.h>

#include "model/qemu_img.h"

// Each ends the function it stands in.
#define VARVE_MISSING(what)                        \
  do {                                             \
    if (::varve::model::programs_are_required()) { \
      FAIL() << (what);                            \
    }                                              \
    GTEST_SKIP() << (what);                        \
  } while (false)

// After model::prepare() failed: `why` says what went wrong; a program is missing where it is
// empty.
#define VARVE_NOT_PREPARED(why)                               \
  do {                                                        \
    ASSERT_EQ(why, "");                                       \
    VARVE_MISSING("a program the scenario needs is missing"); \
  } while (false)

#define VARVE_MACHINE_LACKS(what)                          \
  do {                                                     \
    if (std::getenv("VARVE_REQUIRE_MACHINE") != nullptr) { \
      FAIL() << (what);                                    \
    }                                                      \
    GTEST_SKIP() << (what);                                \
  } while (false)
