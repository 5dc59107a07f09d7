// What images bring: no bytes crash, and what is accepted comes back from its own encoding.
#include "service/stored_settings.h"

#include "input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace varve;
  const auto settings = decode_settings(fuzz::text_of(data, size));
  if (settings) {
    fuzz::must(decode_settings(encode_settings(*settings)) == settings);
  }
  return 0;
}
