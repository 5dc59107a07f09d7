// What a test needs of the machine and may not find there: a program, io_uring, O_DIRECT, a loop
// device. The test is skipped then, except under VARVE_REQUIRE, where missing is a failure.
#pragma once

#include <gtest/gtest.h>

#include "model/qemu_img.h"

// Ends the function it stands in.
#define VARVE_MISSING(what)                        \
  do {                                             \
    if (::varve::model::programs_are_required()) { \
      FAIL() << (what);                            \
    }                                              \
    GTEST_SKIP() << (what);                        \
  } while (false)
