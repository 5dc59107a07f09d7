// A file, or a standard stream, as one end of an exported stream.
#pragma once

#include <cstdio>
#include <memory>
#include <string>

#include <varve/diff.h>

#include "context.h"

namespace varve::tool {

// Owns the file; standard streams stay open.
class StreamFile final : public StreamSink, public StreamSource {
 public:
  // "-" is standard output or input. Not is_open() after a message.
  StreamFile(const Context& context, const std::string& name, bool for_writing);

  [[nodiscard]] bool is_open() const { return file_ != nullptr; }
  Result<void> write(std::span<const std::byte> bytes) override;
  Result<std::size_t> read(std::span<std::byte> target) override;
  // What was written has reached the system.
  Result<void> finish();

 private:
  struct Close {
    void operator()(std::FILE* file) const {
      if (file != stdin && file != stdout) {
        std::fclose(file);
      }
    }
  };
  std::unique_ptr<std::FILE, Close> file_;
};

}  // namespace varve::tool
