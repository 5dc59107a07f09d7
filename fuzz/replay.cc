// Gives a fuzzer every file of a folder: its corpus as a test. With no file it fails.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

int main(int count, char** arguments) {
  unsigned replayed = 0;
  for (int i = 1; i < count; ++i) {
    std::set<std::filesystem::path> paths;  // In the same order everywhere.
    for (const auto& entry : std::filesystem::directory_iterator(arguments[i])) {
      paths.insert(entry.path());
    }
    for (const std::filesystem::path& path : paths) {
      std::ifstream file(path, std::ios::binary);
      const std::vector<char> text{std::istreambuf_iterator<char>(file), {}};
      std::vector<std::uint8_t> bytes(text.begin(), text.end());
      std::puts(path.c_str());  // The last one printed is the one that fails.
      std::fflush(stdout);
      LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
      ++replayed;
    }
  }
  std::printf("%u inputs replayed\n", replayed);
  return replayed == 0 ? 1 : 0;
}
