#include "codec/codec.h"

#include "base/failure.h"
#include "codec/codecs.h"

namespace varve {

Result<std::unique_ptr<Codec>> make_codec(Compression compression) noexcept {
  switch (compression) {
    case Compression::zlib:
      return make_zlib_codec();
    case Compression::zstd:
      return make_zstd_codec();
  }
  return failure(ErrorCode::unsupported, "compression type is not known");
}

}  // namespace varve
