#include "stream_file.h"

#include <cerrno>

#include "messages.h"

namespace varve::tool {

namespace {

Error system_error(const char* what) {
  Error error;
  error.code = ErrorCode::io;
  error.os_errno = errno;
  error.what = what;
  return error;
}

}  // namespace

StreamFile::StreamFile(const Context& context, const std::string& name, bool for_writing) {
  if (name == "-") {
    file_.reset(for_writing ? stdout : stdin);
    return;
  }
  file_.reset(std::fopen(name.c_str(), for_writing ? "wb" : "rb"));
  if (file_ == nullptr) {
    context.error("Could not open '{}': {}", name, system_words(errno));
  }
}

Result<void> StreamFile::write(std::span<const std::byte> bytes) {
  if (std::fwrite(bytes.data(), 1, bytes.size(), file_.get()) != bytes.size()) {
    return system_error("cannot write the stream");
  }
  return {};
}

Result<std::size_t> StreamFile::read(std::span<std::byte> target) {
  const std::size_t length = std::fread(target.data(), 1, target.size(), file_.get());
  if (length == 0 && std::ferror(file_.get()) != 0) {
    return system_error("cannot read the stream");
  }
  return length;
}

Result<void> StreamFile::finish() {
  return std::fflush(file_.get()) == 0 ? Result<void>()
                                       : Result<void>(system_error("cannot write the stream"));
}

}  // namespace varve::tool
