// Compression of single clusters. Pure: memory in, memory out.
// zlib clusters are raw deflate with a 4 KiB window (windowBits -12), which is all QEMU reads; zstd
// clusters are one frame with a bounded window. Threads: a codec object belongs to one thread at a
// time; different objects are independent.
#pragma once

#include <cstddef>
#include <memory>

#include <varve/image.h>
#include <varve/result.h>

#include "base/bytes.h"

namespace varve {

class Codec {
 public:
  virtual ~Codec() = default;

  // Compresses one whole cluster into `target`. The number of bytes written, or 0 when it does not
  // fit in `target` (incompressible data is stored plain by the caller). The first call allocates
  // what compressing needs, later ones nothing. Errors: no_memory, after which it may be tried
  // again.
  [[nodiscard]] virtual Result<std::size_t> compress(ConstBytes cluster, Bytes target) noexcept = 0;

  // Fills `cluster` exactly from compressed bytes; bytes of `source` after the stream's end are
  // ignored. Errors: corrupt (compressed_stream_invalid, compressed_stream_short), no_memory.
  [[nodiscard]] virtual Result<void> decompress(ConstBytes source, Bytes cluster) noexcept = 0;
};

// Allocates everything decompressing will ever need: images that are only read, or never compressed
// into, go without the compressor's hundreds of KiB. Errors: no_memory.
[[nodiscard]] Result<std::unique_ptr<Codec>> make_codec(Compression compression) noexcept;

}  // namespace varve
