#include <new>

#include <varve/bitmap.h>

#include "base/buffer.h"
#include "base/failure.h"
#include "base/try.h"
#include "format/bitmap_directory.h"
#include "image/qcow2_image.h"
#include "meta/batch.h"

namespace varve {
namespace {

Result<std::vector<BitmapInfo>> read_directory(Metadata& metadata,
                                               const BitmapsExtension& extension) {
  MeteredMemory held;
  VARVE_TRY(held.take(metadata.meter, bitmap_directory_memory(extension)));
  Buffer directory = VARVE_TRY(Buffer::allocate(extension.directory_bytes));
  Batch batch(metadata.counters);
  VARVE_TRY(
      batch.read(*metadata.file, IoTag::bitmap, extension.directory_offset, directory.bytes()));
  VARVE_TRY(batch.run());
  const std::vector<BitmapEntry> entries =
      VARVE_TRY(parse_bitmap_directory(directory.bytes(), extension, metadata.geometry));
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
