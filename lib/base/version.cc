#include <varve/version.h>

namespace varve {

const char* version() noexcept {
  return VARVE_VERSION;
}

}  // namespace varve
