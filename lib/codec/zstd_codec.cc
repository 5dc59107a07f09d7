// One zstd frame per cluster. Whole frames are decoded straight into the cluster, so that neither
// the window nor the size a frame claims costs memory. The only file that knows zstd.
#include <new>

#include <zstd.h>
#include <zstd_errors.h>

#include "base/failure.h"
#include "base/try.h"
#include "codec/codecs.h"

namespace varve {
namespace {

struct FreeCompressor {
  void operator()(ZSTD_CCtx* context) const noexcept { ZSTD_freeCCtx(context); }
};
struct FreeDecompressor {
  void operator()(ZSTD_DCtx* context) const noexcept { ZSTD_freeDCtx(context); }
};

Error stream_error(std::size_t outcome) noexcept {
  switch (ZSTD_getErrorCode(outcome)) {
    case ZSTD_error_memory_allocation:
      return failure(ErrorCode::no_memory, "cannot allocate a zstd context");
    case ZSTD_error_srcSize_wrong:
      return corrupt_at(Corruption::compressed_stream_short, IoTag::compressed_data,
                        Error::kNoOffset, kStreamShort);
    default:
      return corrupt_at(Corruption::compressed_stream_invalid, IoTag::compressed_data,
                        Error::kNoOffset, kStreamInvalid);
  }
}

// zstd may know older formats and skippable frames; qcow2 has neither.
bool is_zstd_frame(ConstBytes source) noexcept {
  return source.size() >= 4 && swap_bytes(load_be<std::uint32_t>(source, 0)) == ZSTD_MAGICNUMBER;
}

class ZstdCodec final : public Codec {
 public:
  Result<void> initialise() noexcept {
    decompressor_.reset(ZSTD_createDCtx());
    if (decompressor_ == nullptr) {
      return failure(ErrorCode::no_memory, "cannot allocate a zstd context");
    }
    return {};
  }

  Result<std::size_t> compress(ConstBytes cluster, Bytes target) noexcept override {
    // The context allocates its tables for the first cluster of a size and keeps them.
    if (compressor_ == nullptr) {
      compressor_.reset(ZSTD_createCCtx());
    }
    if (compressor_ == nullptr) {
      return failure(ErrorCode::no_memory, "cannot allocate a zstd context");
    }
    const std::size_t outcome = ZSTD_compress2(compressor_.get(), target.data(), target.size(),
                                               cluster.data(), cluster.size());
    if (ZSTD_isError(outcome) == 0) {
      return outcome;
    }
    if (ZSTD_getErrorCode(outcome) == ZSTD_error_memory_allocation) {
      return failure(ErrorCode::no_memory, "cannot allocate zstd's tables");
    }
    return std::size_t{0};
  }

  Result<void> decompress(ConstBytes source, Bytes cluster) noexcept override {
    if (!is_zstd_frame(source)) {
      return corrupt_at(Corruption::compressed_stream_invalid, IoTag::compressed_data,
                        Error::kNoOffset, kStreamInvalid);
    }
    const std::size_t frame = ZSTD_findFrameCompressedSize(source.data(), source.size());
    if (ZSTD_isError(frame) != 0) {
      return stream_error(frame);
    }
    const std::size_t filled = ZSTD_decompressDCtx(decompressor_.get(), cluster.data(),
                                                   cluster.size(), source.data(), frame);
    if (ZSTD_isError(filled) != 0) {
      return stream_error(filled);
    }
    if (filled != cluster.size()) {
      return corrupt_at(Corruption::compressed_stream_short, IoTag::compressed_data,
                        Error::kNoOffset, kStreamShort);
    }
    return {};
  }

 private:
  std::unique_ptr<ZSTD_CCtx, FreeCompressor> compressor_;
  std::unique_ptr<ZSTD_DCtx, FreeDecompressor> decompressor_;
};

}  // namespace

Result<std::unique_ptr<Codec>> make_zstd_codec() noexcept {
  try {
    auto codec = std::make_unique<ZstdCodec>();
    VARVE_TRY(codec->initialise());
    return std::unique_ptr<Codec>(std::move(codec));
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot allocate the zstd codec");
  }
}

}  // namespace varve
