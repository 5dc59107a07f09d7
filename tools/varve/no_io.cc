// Stands in for qemu-io's verb where it is not built.

#include "verbs.h"

namespace varve::tool {

__attribute__((weak)) int run_io(Context& context, int argc, char** argv) {
  (void)argc;
  return context.usage_error("", "Command not found: {}", argv[0]);
}

}  // namespace varve::tool
