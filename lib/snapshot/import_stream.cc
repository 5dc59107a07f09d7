#include <algorithm>
#include <new>

#include "base/buffer.h"
#include "base/checked.h"
#include "base/failure.h"
#include "base/try.h"
#include "snapshot/stream_format.h"

namespace varve {
namespace {

class Importer {
 public:
  Importer(Image& image, StreamSource& source) : image_(image), source_(source) {}

  StreamInfo info;

  Result<void> read_head() {
    buffer_ = VARVE_TRY(Buffer::allocate(kStreamChunkBytes));
    RawStreamHead head{};
    VARVE_TRY(read(std::as_writable_bytes(std::span(&head, 1))));
    if (head.magic.value() != kStreamMagic) {
      return broken(0, "not an exported disk: its first bytes");
    }
    if (head.sum != hash128(bytes_before_sum(head))) {
      return mismatch(0);
    }
    if (head.version.value() != kStreamVersion || (head.flags.value() & ~kStreamIsDiff) != 0) {
      return failure(ErrorCode::unsupported, "the stream is of a later version");
    }
    info.is_diff = (head.flags.value() & kStreamIsDiff) != 0;
    info.disk_size = head.disk_size.value();
    info.base_size = head.base_size.value();
    info.uuid.bytes = head.uuid;
    info.base.bytes = head.base;
    return {};
  }

  Result<void> prepare() {
    if (image_.size() > info.disk_size) {
      Error error = failure(ErrorCode::out_of_range, "the image is larger than the disk exported");
      error.value = image_.size();
      error.limit = info.disk_size;
      return error;
    }
    return image_.size() < info.disk_size ? image_.grow(info.disk_size) : Result<void>();
  }

  // False: that was the last record.
  Result<bool> import_record() {
    const std::uint64_t at = position_;
    RawStreamRecord record{};
    VARVE_TRY(read(std::as_writable_bytes(std::span(&record, 1))));
    const auto kind = static_cast<StreamRecordKind>(record.kind.value());
    const std::uint64_t offset = record.offset.value();
    const std::uint64_t length = record.length.value();
    Bytes data;
    if (kind == StreamRecordKind::data) {
      if (length > kStreamChunkBytes) {
        return broken(at, "a chunk of the stream is too long; its length", length,
                      kStreamChunkBytes);
      }
      data = buffer_.bytes().first(length);
      VARVE_TRY(read(data));
    }
    if (record.sum != VARVE_TRY(sum_of_record(record, data, number_++))) {
      return mismatch(at);
    }
    if (kind == StreamRecordKind::end) {
      VARVE_TRY(check_end(at, offset, length));
      return false;
    }
    const bool is_known = kind == StreamRecordKind::data || kind == StreamRecordKind::zeros;
    if (!is_known || record.reserved.value() != 0 || length == 0 || offset < reached_ ||
        !range_fits(offset, length, info.disk_size)) {
      return broken(at, "a record of the stream is out of order or of the disk", offset,
                    info.disk_size);
    }
    reached_ = offset + length;
    if (kind == StreamRecordKind::data) {
      info.data_bytes += length;
      VARVE_TRY(image_.write(offset, data));
    } else {
      info.zero_bytes += length;
      VARVE_TRY(image_.write_zeroes(offset, length, true));
    }
    return true;
  }

 private:
  Result<void> check_end(std::uint64_t at, std::uint64_t data, std::uint64_t zeros) const {
    if (data != info.data_bytes || zeros != info.zero_bytes) {
      return broken(at, "the stream's totals are wrong");
    }
    return {};
  }

  Result<void> read(Bytes target) {
    while (!target.empty()) {
      const std::size_t length = VARVE_TRY(source_.read(target));
      if (length == 0) {
        return broken(position_, "the stream is cut off");
      }
      position_ += length;
      target = target.subspan(length);
    }
    return {};
  }

  static Error broken(std::uint64_t at, const char* what, std::uint64_t value = Error::kNoOffset,
                      std::uint64_t limit = Error::kNoOffset) noexcept {
    return corrupt_at(Corruption::stream_invalid, IoTag::none, at, what, value, limit);
  }
  static Error mismatch(std::uint64_t at) noexcept {
    return corrupt_at(Corruption::stream_sum_mismatch, IoTag::none, at,
                      "a piece of the stream differs from its sum");
  }

  Image& image_;
  StreamSource& source_;
  Buffer buffer_;
  std::uint64_t position_ = 0;  // Bytes of the stream read.
  std::uint64_t reached_ = 0;   // Of the disk.
  std::uint64_t number_ = 0;
};

}  // namespace

Result<StreamInfo> import_stream(
    Image& image, StreamSource& source,
    const std::function<Result<void>(const StreamInfo&)>& accept) noexcept {
  try {
    Importer importer(image, source);
    VARVE_TRY(importer.read_head());
    if (accept) {
      VARVE_TRY(accept(importer.info));
    }
    VARVE_TRY(importer.prepare());
    while (VARVE_TRY(importer.import_record())) {
    }
    VARVE_TRY(image.flush());
    return importer.info;
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot import the stream");
  }
}

}  // namespace varve
