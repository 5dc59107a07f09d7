// Propagation of errors: TRY returns the error to the caller or yields the value. One per
// statement, at the outermost level of that statement.
#pragma once

#include <utility>

#include <varve/result.h>

// A GNU statement expression; g++ and clang both take it, __extension__ keeps -Wpedantic quiet.
#define VARVE_TRY(expression)               \
  __extension__({                           \
    auto&& varve_try_result = (expression); \
    if (!varve_try_result.has_value()) {    \
      return varve_try_result.error();      \
    }                                       \
    std::move(varve_try_result).value();    \
  })
