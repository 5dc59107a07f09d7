// The makers of the single codecs, for make_codec only.
#pragma once

#include "codec/codec.h"

namespace varve {

// What both say about a stream that breaks the format; the caller knows where it stands.
inline constexpr const char* kStreamInvalid = "compressed cluster: the stream is not valid";
inline constexpr const char* kStreamShort =
    "compressed cluster: the stream ends before the cluster is full";

[[nodiscard]] Result<std::unique_ptr<Codec>> make_zlib_codec() noexcept;
[[nodiscard]] Result<std::unique_ptr<Codec>> make_zstd_codec() noexcept;

}  // namespace varve
