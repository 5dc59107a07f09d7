// A fuzzer's bytes as text or as records, and how it says that something is wrong.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace varve::fuzz {

inline std::string text_of(const std::uint8_t* data, std::size_t size) {
  return std::string(data, data + size);
}

// One step of an input about images. Records have a size of their own, so that a mutation changes
// one step and leaves the others what they were.
struct Record {
  std::uint8_t code = 0;
  std::uint8_t small = 0;
  std::uint16_t medium = 0;
  std::uint32_t large = 0;
};
inline constexpr std::size_t kRecordBytes = 8;
inline constexpr std::size_t kRecordsMax = 96;

// The whole records of an input; what does not fill one is left out.
inline std::vector<Record> records_of(const std::uint8_t* data, std::size_t size) {
  std::vector<Record> records(std::min(size / kRecordBytes, kRecordsMax));
  for (Record& record : records) {
    record.code = data[0];
    record.small = data[1];
    record.medium = static_cast<std::uint16_t>(data[2] | data[3] << 8);
    record.large = static_cast<std::uint32_t>(data[4] | data[5] << 8 | data[6] << 16) |
                   static_cast<std::uint32_t>(data[7]) << 24;
    data += kRecordBytes;
  }
  return records;
}

inline void must(bool holds, const char* what = "a rule is broken") {
  if (!holds) {
    std::fprintf(stderr, "fuzz: %s\n", what);
    std::abort();
  }
}
inline void must(bool holds, const std::string& what) {
  must(holds, what.c_str());
}

}  // namespace varve::fuzz
