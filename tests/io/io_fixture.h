// Storages of every kind on engines of every kind, and blocking helpers to drive them.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <unistd.h>
#include <varve/engine.h>
#include <varve/storage.h>

#include "model/missing.h"

namespace varve::test {

using ByteVector = std::vector<std::byte>;

inline ByteVector pattern(std::size_t size, unsigned seed) {
  ByteVector bytes(size);
  for (std::size_t i = 0; i < size; ++i) {
    bytes[i] = static_cast<std::byte>((i * 131 + i / 251 + seed * 17 + 1) & 0xff);
  }
  return bytes;
}

// A folder of its own, removed at the end. On a file system that has O_DIRECT.
class Folder {
 public:
  Folder() {
    std::string name = "/var/tmp/varve-io-XXXXXX";
    EXPECT_NE(::mkdtemp(name.data()), nullptr);
    path_ = name;
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// A request that remembers its result.
struct Io : StorageRequest {
  Io() = default;
  Io(const Io&) = delete;
  Io& operator=(const Io&) = delete;

  void start(Storage& storage) {
    result.reset();
    complete = [](StorageRequest& request, const Result<void>& outcome) {
      static_cast<Io&>(request).result = outcome;
    };
    storage.submit(*this);
  }
  std::optional<Result<void>> result;
};

inline Result<void> run(Storage& storage, Io& io) {
  io.start(storage);
  EXPECT_FALSE(io.result.has_value()) << "completed inside submit";
  while (!io.result.has_value()) {
    storage.engine().wait();
  }
  return *io.result;
}

inline Result<void> run(Storage& storage, StorageOperation operation, std::uint64_t offset,
                        std::uint64_t length = 0) {
  Io io;
  io.operation = operation;
  io.offset = offset;
  io.length = length;
  return run(storage, io);
}

inline Result<void> transfer(Storage& storage, StorageOperation operation, std::uint64_t offset,
                             std::byte* data, std::size_t size) {
  IoVector vector = {data, size};
  Io io;
  io.operation = operation;
  io.offset = offset;
  io.vectors = &vector;
  io.vector_count = 1;
  return run(storage, io);
}

inline Result<void> write(Storage& storage, std::uint64_t offset, const ByteVector& bytes) {
  ByteVector copy = bytes;
  return transfer(storage, StorageOperation::write, offset, copy.data(), copy.size());
}

inline ByteVector read(Storage& storage, std::uint64_t offset, std::size_t size) {
  ByteVector bytes(size, std::byte{0xee});
  const Result<void> result =
      transfer(storage, StorageOperation::read, offset, bytes.data(), bytes.size());
  EXPECT_TRUE(result.has_value()) << (result ? "" : describe(result.error()));
  return bytes;
}

inline std::unique_ptr<Engine> make_engine(AioBackend backend, unsigned depth = 256,
                                           unsigned threads = 4) {
  EngineOptions options;
  options.backend = backend;
  options.queue_depth = depth;
  options.threads = threads;
  Result<std::unique_ptr<Engine>> engine = Engine::create(options);
  if (!engine) {
    return nullptr;
  }
  return std::move(*engine);
}

inline std::uint64_t test_seed() {
  const char* text = std::getenv("VARVE_SEED");
  const std::uint64_t seed = text == nullptr ? 42 : std::strtoull(text, nullptr, 0);
  std::printf("VARVE_SEED=%llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

#define VARVE_EXPECT_OK(expression)                                          \
  do {                                                                       \
    const auto& varve_result = (expression);                                 \
    EXPECT_TRUE(varve_result.has_value())                                    \
        << (varve_result.has_value() ? "" : describe(varve_result.error())); \
  } while (false)

#define VARVE_ASSERT_OK(expression)                                          \
  do {                                                                       \
    const auto& varve_result = (expression);                                 \
    ASSERT_TRUE(varve_result.has_value())                                    \
        << (varve_result.has_value() ? "" : describe(varve_result.error())); \
  } while (false)

}  // namespace varve::test
