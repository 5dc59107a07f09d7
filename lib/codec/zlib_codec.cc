// Raw deflate with a 4 KiB window. Each stream is made once, the one that deflates for the first
// cluster to compress, and reset for every cluster, so that no later call allocates. The only file
// that knows zlib.
#define ZLIB_CONST
#include <array>
#include <new>

#include <zlib.h>

#include "base/failure.h"
#include "base/try.h"
#include "codec/codecs.h"

namespace varve {
namespace {

constexpr int kWindowBits = -12;  // Raw deflate, 4 KiB: the largest window QEMU reads.
constexpr int kMemoryLevel = 9;   // zlib's fastest and largest: 256 KiB.

// zlib counts in 32 bits and in its own character type; clusters are far smaller.
const Bytef* input(ConstBytes bytes) noexcept {
  return static_cast<const Bytef*>(static_cast<const void*>(bytes.data()));
}
Bytef* output(Bytes bytes) noexcept {
  return static_cast<Bytef*>(static_cast<void*>(bytes.data()));
}
uInt length(ConstBytes bytes) noexcept {
  VARVE_ASSERT(bytes.size() <= ~uInt{0});
  return static_cast<uInt>(bytes.size());
}

Error stream_error(Corruption reason, const char* what) noexcept {
  return corrupt_at(reason, IoTag::compressed_data, Error::kNoOffset, what);
}

class ZlibCodec final : public Codec {
 public:
  ZlibCodec() noexcept = default;
  ZlibCodec(const ZlibCodec&) = delete;
  ZlibCodec& operator=(const ZlibCodec&) = delete;
  ~ZlibCodec() override {
    if (has_deflate_) {
      deflateEnd(&deflate_);
    }
    if (has_inflate_) {
      inflateEnd(&inflate_);
    }
  }

  Result<void> initialise() noexcept {
    has_inflate_ = inflateInit2(&inflate_, kWindowBits) == Z_OK;
    if (!has_inflate_) {
      return failure(ErrorCode::no_memory, "cannot allocate zlib's stream");
    }
    return warm_up();
  }

  Result<std::size_t> compress(ConstBytes cluster, Bytes target) noexcept override {
    if (target.empty()) {
      return std::size_t{0};
    }
    has_deflate_ =
        has_deflate_ || deflateInit2(&deflate_, Z_DEFAULT_COMPRESSION, Z_DEFLATED, kWindowBits,
                                     kMemoryLevel, Z_DEFAULT_STRATEGY) == Z_OK;
    if (!has_deflate_) {
      return failure(ErrorCode::no_memory, "cannot allocate zlib's stream");
    }
    deflateReset(&deflate_);
    deflate_.next_in = input(cluster);
    deflate_.avail_in = length(cluster);
    deflate_.next_out = output(target);
    deflate_.avail_out = length(target);
    if (deflate(&deflate_, Z_FINISH) != Z_STREAM_END) {
      return std::size_t{0};
    }
    return target.size() - deflate_.avail_out;
  }

  Result<void> decompress(ConstBytes source, Bytes cluster) noexcept override {
    const int outcome = inflate_once(source, cluster);
    const bool full = inflate_.avail_out == 0;
    // A stream may hold more than the cluster; it is enough that the cluster is full.
    if (full && (outcome == Z_STREAM_END || outcome == Z_BUF_ERROR || outcome == Z_OK)) {
      return {};
    }
    if (outcome == Z_MEM_ERROR) {
      return failure(ErrorCode::no_memory, "cannot allocate zlib's window");
    }
    if (outcome == Z_STREAM_END || outcome == Z_BUF_ERROR || outcome == Z_OK) {
      return stream_error(Corruption::compressed_stream_short, kStreamShort);
    }
    return stream_error(Corruption::compressed_stream_invalid, kStreamInvalid);
  }

 private:
  int inflate_once(ConstBytes source, Bytes cluster) noexcept {
    inflateReset(&inflate_);
    inflate_.next_in = input(source);
    inflate_.avail_in = length(source);
    inflate_.next_out = output(cluster);
    inflate_.avail_out = length(cluster);
    return inflate(&inflate_, Z_FINISH);
  }

  // inflate allocates its window only when a stream stops short; make it do so now, with a stored
  // block of one byte that is not the last, so that no later call allocates.
  Result<void> warm_up() noexcept {
    static constexpr std::array<std::byte, 6> kUnfinished = {std::byte{0x00}, std::byte{0x01},
                                                             std::byte{0x00}, std::byte{0xfe},
                                                             std::byte{0xff}, std::byte{'v'}};
    std::array<std::byte, 16> scratch;
    if (inflate_once(kUnfinished, scratch) == Z_MEM_ERROR) {
      return failure(ErrorCode::no_memory, "cannot allocate zlib's window");
    }
    return {};
  }

  z_stream deflate_{};
  z_stream inflate_{};
  bool has_deflate_ = false;
  bool has_inflate_ = false;
};

}  // namespace

Result<std::unique_ptr<Codec>> make_zlib_codec() noexcept {
  try {
    auto codec = std::make_unique<ZlibCodec>();
    VARVE_TRY(codec->initialise());
    return std::unique_ptr<Codec>(std::move(codec));
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot allocate the zlib codec");
  }
}

}  // namespace varve
