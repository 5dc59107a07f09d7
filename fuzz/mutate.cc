// Mutations of inputs about images that keep records whole: without them nearly every insertion
// makes all later steps something else.
#include <algorithm>
#include <array>
#include <vector>

#include "damage.h"
#include "player.h"
#include "recipe.h"
#include "sim/random.h"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

namespace varve::fuzz {
namespace {

using RawRecord = std::array<std::uint8_t, kRecordBytes>;

RawRecord random_record(sim::Random& random) {
  RawRecord record{};
  for (std::uint8_t& byte : record) {
    byte = static_cast<std::uint8_t>(random.next() & (random.chance(50) ? 0x0f : 0xff));
  }
  record[0] = static_cast<std::uint8_t>(random.chance(40) ? kDamage + random.below(kDamageCount)
                                                          : random.below(kStepCount));
  return record;
}

void change(std::vector<RawRecord>& records, sim::Random& random) {
  const auto place = [&] {
    return records.begin() + static_cast<std::ptrdiff_t>(random.below(records.size()));
  };
  const std::uint64_t kind = records.empty() ? 0 : random.below(8);
  if (kind <= 2) {
    const auto at = records.empty() ? records.end() : place() + 1;
    records.insert(at, random_record(random));
  } else if (kind == 3) {
    records.erase(place());
  } else if (kind == 4) {
    std::swap(*place(), *place());
  } else if (kind == 5) {
    const RawRecord copy = *place();
    records.insert(place() + 1, copy);
  } else {
    RawRecord& record = *place();
    LLVMFuzzerMutate(record.data(), record.size(), record.size());
  }
}

std::vector<RawRecord> read(const std::uint8_t* data, std::size_t size) {
  std::vector<RawRecord> records(size / kRecordBytes);
  for (RawRecord& record : records) {
    std::copy_n(data, kRecordBytes, record.begin());
    data += kRecordBytes;
  }
  return records;
}

std::size_t write(const std::vector<RawRecord>& records, std::uint8_t* data, std::size_t max_size) {
  const std::size_t count = std::min(records.size(), max_size / kRecordBytes);
  for (std::size_t i = 0; i < count; ++i) {
    std::ranges::copy(records[i], data + i * kRecordBytes);
  }
  return count * kRecordBytes;
}

}  // namespace
}  // namespace varve::fuzz

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t max_size, unsigned seed) {
  using namespace varve::fuzz;
  varve::sim::Random random(seed);
  std::vector<RawRecord> records = read(data, size);
  for (std::uint64_t i = 0; i <= random.below(3); ++i) {
    change(records, random);
  }
  return write(records, data, max_size);
}

// The geometry and beginning of one, the end of the other.
extern "C" std::size_t LLVMFuzzerCustomCrossOver(const std::uint8_t* first, std::size_t first_size,
                                                 const std::uint8_t* second,
                                                 std::size_t second_size, std::uint8_t* target,
                                                 std::size_t max_size, unsigned seed) {
  using namespace varve::fuzz;
  varve::sim::Random random(seed);
  std::vector<RawRecord> records = read(first, first_size);
  const std::vector<RawRecord> others = read(second, second_size);
  records.resize(random.below(records.size() + 1));
  const auto from = static_cast<std::ptrdiff_t>(random.below(others.size() + 1));
  records.insert(records.end(), others.begin() + from, others.end());
  return write(records, target, max_size);
}
