#include "io_session.h"

#include <algorithm>
#include <cerrno>

#include "io_open.h"
#include "io_parse.h"
#include "messages.h"

namespace varve::tool {

namespace {

// How far below its end a disk of guessed format is protected: what detection looks at.
constexpr std::uint64_t kProbedBytes = 512;

constexpr std::uint64_t kCopyBytes = 1u << 20;  // One step of copying on read.

struct Wait {
  bool done = false;
  Result<void> result;
};

bool is_write(BlockOperation operation) {
  return operation == BlockOperation::write || operation == BlockOperation::write_zeroes ||
         operation == BlockOperation::write_compressed;
}

int errno_of(const Error& error) {
  if (error.os_errno != 0 && error.code != ErrorCode::corrupt) {
    return error.os_errno;
  }
  switch (error.code) {
    case ErrorCode::unsupported:
      return EOPNOTSUPP;
    case ErrorCode::invalid_argument:
      return EINVAL;
    case ErrorCode::read_only:
      return EPERM;
    case ErrorCode::no_space:
      return ENOSPC;
    case ErrorCode::no_memory:
      return ENOMEM;
    case ErrorCode::busy:
      return EBUSY;
    case ErrorCode::cancelled:
      return ECANCELED;
    default:
      return EIO;
  }
}

// The first sector as it will be once `request` is done.
Result<std::vector<std::byte>> future_first_sector(Image& image, const BlockRequest& request) {
  std::vector<std::byte> sector(kProbedBytes);
  const std::uint64_t present = std::min<std::uint64_t>(image.size(), kProbedBytes);
  if (const Result<void> read = image.read(0, std::span(sector).first(present)); !read) {
    return read.error();
  }
  std::uint64_t position = request.offset;
  if (request.vectors == nullptr) {
    const std::uint64_t end = std::min(kProbedBytes, request.offset + request.length);
    std::fill(sector.begin() + static_cast<std::ptrdiff_t>(position),
              sector.begin() + static_cast<std::ptrdiff_t>(end), std::byte{0});
  }
  for (std::uint32_t i = 0; i < request.vector_count && position < kProbedBytes; ++i) {
    const IoVector& vector = request.vectors[i];
    const auto part = std::min<std::uint64_t>(vector.size, kProbedBytes - position);
    std::copy_n(vector.data, part, sector.begin() + static_cast<std::ptrdiff_t>(position));
    position += part;
  }
  return sector;
}

// Whether a program that detects formats would still take the disk for a raw one.
Result<bool> stays_raw(Image& image, const BlockRequest& request) {
  Result<std::vector<std::byte>> sector = future_first_sector(image, request);
  if (!sector) {
    return sector.error();
  }
  Result<std::unique_ptr<Storage>> storage = make_memory_storage(image.engine(), kProbedBytes);
  if (!storage) {
    return storage.error();
  }
  const IoVector vector{sector->data(), sector->size()};
  Wait wait;
  StorageRequest write;
  write.operation = StorageOperation::write;
  write.vectors = &vector;
  write.vector_count = 1;
  write.owner = &wait;
  write.complete = [](StorageRequest& finished, const Result<void>& result) {
    *static_cast<Wait*>(finished.owner) = Wait{true, result};
  };
  (*storage)->submit(write);
  while (!wait.done) {
    (void)image.engine().wait();
  }
  if (!wait.result) {
    return wait.result.error();
  }
  const Result<ProbeReport> report = probe(**storage);
  if (!report) {
    return report.error();
  }
  return report->format == "raw";
}

// Brings what the top layer lacks in the clusters around the range up from the layers below.
Result<void> copy_up(Image& image, std::uint64_t offset, std::uint64_t length) {
  const std::uint64_t cluster = image.facts().cluster_bytes;
  std::uint64_t position = offset / cluster * cluster;
  const std::uint64_t end =
      std::min(image.size(), (offset + length + cluster - 1) / cluster * cluster);
  std::vector<std::byte> data;
  while (position < end) {
    const Result<BlockStatus> status = image.status(position, end - position, false);
    if (!status) {
      return status.error();
    }
    if (status->allocated) {
      position += status->length;
      continue;
    }
    const std::uint64_t part = std::min({status->length, end - position, kCopyBytes});
    data.resize(static_cast<std::size_t>(part));
    Result<void> copied = image.read(position, data);
    if (copied) {
      copied = matches_pattern(data, 0) ? image.write_zeroes(position, part)
                                        : image.write(position, data);
    }
    if (!copied) {
      return copied;
    }
    position += part;
  }
  return {};
}

}  // namespace

IoSession::~IoSession() {
  if (is_open()) {
    (void)close();
  }
}

bool IoSession::open(const IoSettings& settings) {
  if (is_open()) {
    print_io_error(context_, "file open already, try 'help close'");
    return false;
  }
  std::string reason;
  std::optional<OpenedImage> opened = open_io_image(context_, settings, reason);
  if (!opened) {
    const std::string device = settings.name ? fmt::format(" device {}", *settings.name) : "";
    print_io_error(context_, fmt::format("can't open{}: {}", device, reason));
    return false;
  }
  settings_ = settings;
  guessed_raw_ = opened->format == "raw" && !settings.format && settings.options.empty() &&
                 settings.name && !settings.name->starts_with("json:") && !settings.snapshot;
  opened_ = std::move(opened);
  return true;
}

bool IoSession::reopen(const IoSettings& settings) {
  async_.drain();
  if (settings_.snapshot) {
    settings_ = settings;  // The overlay would be lost.
    return true;
  }
  if (!close()) {
    return false;
  }
  std::string reason;
  std::optional<OpenedImage> opened = open_io_image(context_, settings, reason);
  if (opened) {
    settings_ = settings;
    opened_ = std::move(opened);
    return true;
  }
  print_io_error(context_, reason);
  opened_ = open_io_image(context_, settings_, reason);
  return false;
}

bool IoSession::close() {
  async_.drain();
  const Result<void> closed = opened_->image->close();
  const std::string filename = opened_->filename;
  opened_.reset();
  if (!closed) {
    print_io_error(context_, fmt::format("{}: {}", filename, describe(closed.error())));
  }
  return closed.has_value();
}

std::uint64_t IoSession::size() const {
  return (image().size() + kSectorBytes - 1) / kSectorBytes * kSectorBytes;
}

int IoSession::prepare(const BlockRequest& request) {
  if (request.operation == BlockOperation::flush) {
    return 0;
  }
  const std::uint64_t end = size();
  if (request.offset > end || request.length > end - request.offset) {
    return EIO;
  }
  if (is_void(request)) {
    return 0;
  }
  if (guessed_raw_ && is_write(request.operation) && request.offset < kProbedBytes) {
    const Result<bool> allowed = stays_raw(image(), request);
    if (!allowed || !*allowed) {
      return allowed ? EPERM : report_failure(allowed.error());
    }
  }
  if (settings_.copy_on_read && request.operation == BlockOperation::read &&
      image().facts().format == Format::qcow2) {
    const Result<void> copied = copy_up(image(), request.offset, request.length);
    return copied ? 0 : report_failure(copied.error());
  }
  return 0;
}

bool IoSession::is_void(const BlockRequest& request) const {
  return request.operation != BlockOperation::flush &&
         (request.length == 0 ||
          (request.operation == BlockOperation::discard && !settings_.discard));
}

bool IoSession::needs_flush(const BlockRequest& request, bool force_unit_access) const {
  return is_write(request.operation) && (force_unit_access || settings_.cache.write_through);
}

int IoSession::report_failure(const Error& error) const {
  if (error.code == ErrorCode::corrupt || error.code == ErrorCode::poisoned) {
    print_io_error(context_, fmt::format("{}: {}", opened_->filename, describe(error)));
  }
  return errno_of(error);
}

int IoSession::submit_and_wait(BlockRequest& request) {
  Wait wait;
  request.owner = &wait;
  request.complete = [](BlockRequest& finished, const Result<void>& result) {
    *static_cast<Wait*>(finished.owner) = Wait{true, result};
  };
  image().submit(request);
  while (!wait.done) {
    (void)image().engine().wait();
  }
  return wait.result ? 0 : report_failure(wait.result.error());
}

int IoSession::perform(BlockRequest& request, bool force_unit_access) {
  async_.finish_deferred();
  int problem = prepare(request);
  if (problem != 0 || is_void(request)) {
    return problem;
  }
  problem = submit_and_wait(request);
  if (problem != 0 || !needs_flush(request, force_unit_access)) {
    return problem;
  }
  return flush();
}

int IoSession::flush() {
  BlockRequest request;
  request.operation = BlockOperation::flush;
  return submit_and_wait(request);
}

}  // namespace varve::tool
