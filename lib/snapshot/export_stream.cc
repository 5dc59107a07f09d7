#include <algorithm>
#include <new>
#include <utility>

#include <varve/snapshot.h>

#include "base/buffer.h"
#include "base/failure.h"
#include "base/try.h"
#include "snapshot/stream_format.h"

namespace varve {
namespace {

class Exporter {
 public:
  Exporter(Image& source, StreamSink& sink) : source_(source), sink_(sink) {}

  StreamInfo info;

  Result<void> begin() {
    buffer_ = VARVE_TRY(Buffer::allocate(kStreamChunkBytes));
    RawStreamHead head{};
    head.magic.set(kStreamMagic);
    head.version.set(kStreamVersion);
    head.flags.set(info.is_diff ? kStreamIsDiff : 0);
    head.disk_size.set(info.disk_size);
    head.base_size.set(info.base_size);
    head.uuid = info.uuid.bytes;
    head.base = info.base.bytes;
    head.sum = hash128(bytes_before_sum(head));
    return sink_.write(std::as_bytes(std::span(&head, 1)));
  }

  Result<void> add_range(const DiffRange& range) {
    for (std::uint64_t at = 0; at < range.length;) {
      const std::uint64_t length = std::min(kStreamChunkBytes, range.length - at);
      const Bytes chunk = buffer_.bytes().first(length);
      VARVE_TRY(source_.read(range.start + at, chunk));
      if (is_all_zero(chunk)) {
        VARVE_TRY(add_zeros({range.start + at, length}));
      } else {
        VARVE_TRY(flush_zeros());
        VARVE_TRY(add(StreamRecordKind::data, range.start + at, length, chunk));
        info.data_bytes += length;
      }
      at += length;
    }
    return {};
  }

  Result<void> add_zeros(const DiffRange& range) {
    info.zero_bytes += range.length;
    if (zeros_.length != 0 && zeros_.start + zeros_.length == range.start) {
      zeros_.length += range.length;
      return {};
    }
    VARVE_TRY(flush_zeros());
    zeros_ = range;
    return {};
  }

  Result<void> end() {
    VARVE_TRY(flush_zeros());
    return add(StreamRecordKind::end, info.data_bytes, info.zero_bytes, {});
  }

 private:
  Result<void> flush_zeros() {
    const DiffRange range = std::exchange(zeros_, {});
    return range.length == 0 ? Result<void>()
                             : add(StreamRecordKind::zeros, range.start, range.length, {});
  }

  Result<void> add(StreamRecordKind kind, std::uint64_t offset, std::uint64_t length,
                   ConstBytes data) {
    RawStreamRecord record{};
    record.kind.set(static_cast<std::uint32_t>(kind));
    record.offset.set(offset);
    record.length.set(length);
    record.sum = VARVE_TRY(sum_of_record(record, data, number_++));
    VARVE_TRY(sink_.write(std::as_bytes(std::span(&record, 1))));
    return data.empty() ? Result<void>() : sink_.write(data);
  }

  Image& source_;
  StreamSink& sink_;
  Buffer buffer_;
  DiffRange zeros_;
  std::uint64_t number_ = 0;
};

// One side, readable: a snapshot opened beside the image, or the image itself.
struct Source {
  std::unique_ptr<Image> snapshot;
  Image* disk = nullptr;
  Uuid uuid;
};

Result<Source> open_side(Image& image, DiffSide side) {
  Source source;
  source.disk = &image;
  if (side.index != DiffSide::kNow) {
    const auto list = VARVE_TRY(list_snapshots(image));
    if (side.index >= list.size()) {
      return failure(ErrorCode::not_found, "there is no such snapshot");
    }
    source.snapshot = VARVE_TRY(open_snapshot(image, side.index));
    source.disk = source.snapshot.get();
    source.uuid = list[side.index].uuid;
  }
  return source;
}

// Closes the snapshot also after a failure, whose error is the one told.
Result<StreamInfo> close_side(Source& source, const Result<void>& result, const StreamInfo& info) {
  const Result<void> closed =
      source.snapshot != nullptr ? source.snapshot->close() : Result<void>();
  if (!result || !closed) {
    return result ? closed.error() : result.error();
  }
  return info;
}

Result<void> export_whole(Exporter& exporter, Image& disk) {
  VARVE_TRY(exporter.begin());
  for (std::uint64_t at = 0; at < disk.size();) {
    const BlockStatus status = VARVE_TRY(disk.status(at, disk.size() - at));
    const DiffRange range{at, status.length};
    VARVE_TRY(status.data ? exporter.add_range(range) : exporter.add_zeros(range));
    at += status.length;
  }
  return exporter.end();
}

Result<void> export_changes(Exporter& exporter, Image& image, DiffSide from, DiffSide to) {
  VARVE_TRY(exporter.begin());
  VARVE_TRY(for_each_difference(image, from, to,
                                [&](const DiffRange& range) { return exporter.add_range(range); }));
  return exporter.end();
}

}  // namespace

Result<StreamInfo> export_disk(Image& image, DiffSide side, StreamSink& sink) noexcept {
  try {
    Source source = VARVE_TRY(open_side(image, side));
    Exporter exporter(*source.disk, sink);
    exporter.info.disk_size = source.disk->size();
    exporter.info.uuid = source.uuid;
    const Result<void> result = export_whole(exporter, *source.disk);
    return close_side(source, result, exporter.info);
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot export the disk");
  }
}

Result<StreamInfo> export_diff(Image& image, DiffSide from, DiffSide to,
                               StreamSink& sink) noexcept {
  try {
    Source base = VARVE_TRY(open_side(image, from));
    auto source = open_side(image, to);
    if (!source) {
      return close_side(base, source.error(), {});
    }
    Exporter exporter(*source->disk, sink);
    exporter.info.is_diff = true;
    exporter.info.disk_size = source->disk->size();
    exporter.info.base_size = base.disk->size();
    exporter.info.uuid = source->uuid;
    exporter.info.base = base.uuid;
    const Result<void> result = export_changes(exporter, image, from, to);
    const Result<StreamInfo> closed = close_side(*source, result, exporter.info);
    return close_side(base, closed ? Result<void>() : closed.error(), exporter.info);
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot export the difference");
  }
}

}  // namespace varve
