// Everything a hypervisor does with its disks, for children under a filter: they tell of a failure
// by what they print and answer.
#pragma once

#include <array>
#include <cstdint>
#include <cstdio>
#include <memory>

#include <varve/check.h>
#include <varve/convert.h>
#include <varve/create.h>
#include <varve/diff.h>
#include <varve/group.h>
#include <varve/snapshot.h>
#include <varve/state.h>

#include "io/io_fixture.h"

namespace varve::test {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kIsSanitized = true;
#elif defined(__has_feature)
inline constexpr bool kIsSanitized =
    __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
inline constexpr bool kIsSanitized = false;
#endif

inline constexpr std::uint64_t kLifeDiskBytes = 4u << 20;

#define MUST_IN_CHILD(expression)                                                    \
  do {                                                                               \
    const auto& result_ = (expression);                                              \
    if (!result_.has_value()) {                                                      \
      std::fprintf(stderr, "%d: %s\n", __LINE__, describe(result_.error()).c_str()); \
      return 1;                                                                      \
    }                                                                                \
  } while (false)

inline Result<std::unique_ptr<Image>> make_disk(Engine& engine, int descriptor) {
  auto storage = adopt_file(engine, descriptor, {.writable = true});
  if (!storage) {
    return storage.error();
  }
  CreateOptions create;
  create.size_bytes = kLifeDiskBytes;
  const Result<void> created = create_image_in(**storage, nullptr, create);
  if (!created) {
    return created.error();
  }
  OpenOptions options;
  options.writable = true;
  options.discard = DiscardMode::unmap;
  return Image::open(std::move(*storage), "", options);
}

// Over two empty files.
inline int live(Engine& engine, const std::array<int, 2>& descriptors, unsigned threads) {
  auto first = make_disk(engine, descriptors[0]);
  MUST_IN_CHILD(first);
  auto second = make_disk(engine, descriptors[1]);
  MUST_IN_CHILD(second);
  Image& disk = **first;
  ByteVector bytes = pattern(300'000, 1);
  MUST_IN_CHILD(disk.write(5, bytes));
  MUST_IN_CHILD(disk.read(5, bytes));
  MUST_IN_CHILD(disk.write_zeroes(0, 200'000, true));
  MUST_IN_CHILD(disk.write_compressed(1u << 20, ByteVector(65'536)));
  MUST_IN_CHILD(disk.flush());
  MUST_IN_CHILD(disk.discard(0, 1u << 20));
  MUST_IN_CHILD(disk.grow(2 * kLifeDiskBytes, Preallocation::falloc));
  MUST_IN_CHILD(disk.status(0, kLifeDiskBytes));
  auto state = StateWriter::create(disk);
  MUST_IN_CHILD(state);
  MUST_IN_CHILD((*state)->write(bytes));
  MUST_IN_CHILD((*state)->finish());
  SnapshotCreateOptions full;
  full.state = state->get();
  MUST_IN_CHILD(create_snapshot(disk, full));
  state->reset();
  MUST_IN_CHILD(disk.write(0, bytes));
  MUST_IN_CHILD(diff_snapshots(disk, {0}, {}));
  std::array<Image*, 2> both = {&disk, second->get()};
  const auto group = create_group_snapshot(both, {});
  MUST_IN_CHILD(group);
  MUST_IN_CHILD(apply_group_snapshot(both, group->group));
  MUST_IN_CHILD(delete_snapshot(disk, 0));
  MUST_IN_CHILD(disk.release());
  MUST_IN_CHILD(disk.reacquire());
  MUST_IN_CHILD(check(disk));
  ConvertOptions copy;
  copy.threads = threads;
  copy.compressed = true;
  MUST_IN_CHILD((*second)->grow(disk.size()));
  MUST_IN_CHILD(convert(disk, **second, copy));
  MUST_IN_CHILD(disk.close());
  MUST_IN_CHILD((*second)->close());
  return 0;
}

}  // namespace varve::test
