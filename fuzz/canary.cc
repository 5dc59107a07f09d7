// Fails on its corpus, so that a harness that swallows failures is found.
#include "input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  varve::fuzz::must(varve::fuzz::text_of(data, size) != "canary");
  return 0;
}
