#include "base/assert.h"

#include <cstdio>
#include <cstdlib>

namespace varve {

void assertion_failed(const char* condition, const char* file, int line) noexcept {
  std::fprintf(stderr, "varve: internal error: %s (%s:%d)\n", condition, file, line);
  std::abort();
}

}  // namespace varve
