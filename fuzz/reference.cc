// Object paths: whatever is accepted prints as a path that names the same.
#include "service/reference.h"

#include "input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace varve;
  static const References kReferences("HOST1");
  const std::string text = fuzz::text_of(data, size);
  for (int i = 0; i <= static_cast<int>(ReferenceKind::snapshot_collection); ++i) {
    const auto kind = static_cast<ReferenceKind>(i);
    if (const auto id = kReferences.parse(kind, text); id) {
      fuzz::must(kReferences.parse(kind, kReferences.print(kind, *id)) == id);
    }
  }
  return 0;
}
