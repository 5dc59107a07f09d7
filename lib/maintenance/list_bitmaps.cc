#include <new>

#include <varve/bitmap.h>

#include "base/failure.h"
#include "base/try.h"
#include "image/qcow2_image.h"
#include "meta/bitmap_entries.h"

namespace varve {
namespace {

Result<std::vector<BitmapInfo>> read_directory(Metadata& metadata,
                                               const BitmapsExtension& extension) {
  MeteredMemory held;
  const std::vector<BitmapEntry> entries =
      VARVE_TRY(read_bitmap_entries(metadata, extension, held));
  std::vector<BitmapInfo> bitmaps;
  bitmaps.reserve(entries.size());
  for (const BitmapEntry& entry : entries) {
    bitmaps.push_back({entry.name, std::uint64_t{1} << entry.granularity_bits,
                       (entry.flags & BitmapEntry::kInUse) != 0,
                       (entry.flags & BitmapEntry::kAuto) != 0});
  }
  return bitmaps;
}

}  // namespace

Result<std::vector<BitmapInfo>> list_bitmaps(Image& image) noexcept {
  auto* const qcow2 = dynamic_cast<Qcow2Image*>(&image.core());
  if (qcow2 == nullptr) {
    return std::vector<BitmapInfo>();
  }
  Metadata& metadata = qcow2->metadata();
  const auto extension = metadata.header.bitmaps();
  if (!extension || extension->directory_bytes == 0 ||
      (metadata.header.autoclear & kAutoclearBitmaps) == 0) {
    return std::vector<BitmapInfo>();
  }
  try {
    return read_directory(metadata, *extension);
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot list the bitmaps");
  }
}

}  // namespace varve
