// Images made by the installed qemu-img, for tests that read what QEMU writes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace varve::test {

// A folder of this test's own, removed when the test ends.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "varve-XXXXXX").string();
    path_ = mkdtemp(pattern.data()) == nullptr ? std::string() : pattern;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    if (!path_.empty()) {
      std::filesystem::remove_all(path_);
    }
  }
  [[nodiscard]] std::string file(const std::string& name) const { return path_ + "/" + name; }
  // Runs a shell command inside the folder; true when it succeeds.
  [[nodiscard]] bool run(const std::string& command) const {
    return std::system(("cd '" + path_ + "' && " + command + " >command.log 2>&1").c_str()) == 0;
  }

 private:
  std::string path_;
};

[[nodiscard]] inline bool has_qemu_img() {
  static const bool has = std::system("qemu-img --version >/dev/null 2>&1") == 0;
  return has;
}

// `length` bytes from `offset`; zeros behind the end of the file.
[[nodiscard]] inline std::vector<std::byte> read_bytes(const std::string& path,
                                                       std::uint64_t offset, std::size_t length) {
  std::vector<std::byte> bytes(length);
  std::ifstream stream(path, std::ios::binary);
  stream.seekg(static_cast<std::streamoff>(offset));
  stream.read(static_cast<char*>(static_cast<void*>(bytes.data())),
              static_cast<std::streamsize>(length));
  return bytes;
}

inline void write_bytes(const std::string& path, const std::vector<std::byte>& bytes) {
  std::ofstream stream(path, std::ios::binary);
  stream.write(static_cast<const char*>(static_cast<const void*>(bytes.data())),
               static_cast<std::streamsize>(bytes.size()));
}

// Overwrites a part of a file, or goes on behind its end.
inline void patch_bytes(const std::string& path, std::uint64_t offset,
                        const std::vector<std::byte>& bytes) {
  std::fstream stream(path, std::ios::binary | std::ios::in | std::ios::out);
  stream.seekp(static_cast<std::streamoff>(offset));
  stream.write(static_cast<const char*>(static_cast<const void*>(bytes.data())),
               static_cast<std::streamsize>(bytes.size()));
}

// Skips the test where QEMU is missing, unless the run says that it must be there.
#define VARVE_NEED_QEMU_IMG()                         \
  do {                                                \
    if (!::varve::test::has_qemu_img()) {             \
      if (std::getenv("VARVE_REQUIRE") != nullptr) {  \
        FAIL() << "qemu-img is required and missing"; \
      }                                               \
      GTEST_SKIP() << "qemu-img is missing";          \
    }                                                 \
  } while (false)

}  // namespace varve::test
