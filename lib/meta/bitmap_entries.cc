#include "meta/bitmap_entries.h"

#include "base/buffer.h"
#include "base/try.h"
#include "meta/batch.h"

namespace varve {

Result<std::vector<BitmapEntry>> read_bitmap_entries(Metadata& metadata,
                                                     const BitmapsExtension& extension,
                                                     MeteredMemory& held) noexcept {
  VARVE_TRY(held.take(metadata.meter, bitmap_directory_memory(extension)));
  Buffer directory = VARVE_TRY(Buffer::allocate(extension.directory_bytes));
  Batch batch(metadata.counters);
  VARVE_TRY(batch.run(
      batch.read(*metadata.file, IoTag::bitmap, extension.directory_offset, directory.bytes())));
  return parse_bitmap_directory(directory.bytes(), extension, metadata.geometry);
}

}  // namespace varve
