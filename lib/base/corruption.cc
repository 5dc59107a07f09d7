#include <varve/corruption.h>

namespace varve {

const char* corruption_name(Corruption reason) noexcept {
  switch (reason) {
    case Corruption::none:
      return "none";
  }
  return "unknown";
}

}  // namespace varve
