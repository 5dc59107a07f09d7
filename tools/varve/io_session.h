// The image that `varve io` works on, and how requests reach it.
//
// Threads: one, the engine's. A command runs to its end; only the aio_ commands leave requests in
// flight, which finish whenever a later command waits for the engine.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include <varve/image.h>

#include "context.h"
#include "image_argument.h"
#include "io_async.h"
#include "io_buffer.h"
#include "options.h"

namespace varve::tool {

// The longest request qemu-io sends, in bytes.
inline constexpr std::uint64_t kRequestMax = 2147483136;
inline constexpr std::uint64_t kSectorBytes = 512;

// How an image is opened: by the command line's options and by the command `open`.
struct IoSettings {
  std::optional<std::string> name;
  std::optional<std::string> format;
  KeyValueList options;  // --image-opts, open -o.
  bool read_only = false;
  bool snapshot = false;  // Writes go to a temporary overlay.
  bool copy_on_read = false;
  bool force_share = false;
  bool native_aio = false;
  bool discard = true;
  CacheMode cache{.direct = false, .flush_ignored = false, .write_through = true};
};

class IoSession {
 public:
  IoSession(Context& context, bool misaligned) : context_(context), misaligned_(misaligned) {}
  IoSession(const IoSession&) = delete;
  IoSession& operator=(const IoSession&) = delete;
  ~IoSession();

  // False after a message.
  bool open(const IoSettings& settings);
  // Closes and opens again; when that fails the image is open as before.
  bool reopen(const IoSettings& settings);
  // Waits for what is in flight. False after a message.
  bool close();

  [[nodiscard]] bool is_open() const { return opened_.has_value(); }
  [[nodiscard]] bool is_writable() const { return !settings_.read_only; }
  [[nodiscard]] const IoSettings& settings() const { return settings_; }
  [[nodiscard]] Context& context() const { return context_; }
  [[nodiscard]] IoAsyncQueue& async() { return async_; }
  [[nodiscard]] const std::string& format() const { return opened_->format; }
  [[nodiscard]] const std::string& filename() const { return opened_->filename; }

  // REQUIRES of what follows: is_open().
  [[nodiscard]] Image& image() const { return *opened_->image; }
  // The size of the disk in whole sectors, as qemu counts it.
  [[nodiscard]] std::uint64_t size() const;

  [[nodiscard]] IoBuffer make_buffer(std::uint64_t size) const {
    return IoBuffer(static_cast<std::size_t>(size), misaligned_);
  }

  // Runs a request to its end; 0 or the errno qemu-io would report. `force_unit_access`: a write is
  // durable on return.
  int perform(BlockRequest& request, bool force_unit_access = false);
  int flush();

  // What must be settled before a request may start: that it lies on the disk, that a disk of
  // guessed format stays what it was taken for, that copied-on-read data are in place. 0 or errno.
  int prepare(const BlockRequest& request);

  // Whether the request has nothing to do but to succeed.
  [[nodiscard]] bool is_void(const BlockRequest& request) const;

  // Whether a finished request is to be followed by a flush.
  [[nodiscard]] bool needs_flush(const BlockRequest& request, bool force_unit_access) const;

  // The errno for a failure; damage is told on stderr as well.
  int report_failure(const Error& error) const;

  bool quit = false;        // Run no further command.
  bool image_opts = false;  // Names are lists of options.

 private:
  int submit_and_wait(BlockRequest& request);

  Context& context_;
  bool misaligned_;
  IoSettings settings_;
  std::optional<OpenedImage> opened_;
  bool guessed_raw_ = false;
  IoAsyncQueue async_;
};

}  // namespace varve::tool
