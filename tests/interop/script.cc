#include "interop/script.h"

#include <algorithm>

#include "base/checked.h"
#include "base/units.h"

namespace varve::interop {
namespace {

using Action = Step::Action;

constexpr unsigned kBackingSeed = 9;

Script operator+(Script first, const Script& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

void discard(const Case& example, Actor actor, const Step& step, Content& content) {
  const std::uint64_t cluster = example.cluster_bytes;
  const std::uint64_t wish = step.offset + step.length;
  const std::uint64_t end = wish == content.size() ? wish : round_down(wish, cluster);
  for (std::uint64_t at = round_up(step.offset, cluster); at < end; at += cluster) {
    const bool is_left_alone = example.version == 2 && example.kind == Kind::backing &&
                               (actor == Actor::qemu || at < example.backing_bytes());
    if (!is_left_alone) {
      std::fill_n(content.begin() + static_cast<std::ptrdiff_t>(at), std::min(cluster, end - at),
                  std::byte{0});
    }
  }
}

}  // namespace

std::vector<std::byte> pattern_of(unsigned seed) {
  std::vector<std::byte> pattern(kPatternBytes);
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    pattern[i] = static_cast<std::byte>((i * (2 * seed + 1) + i / 13 + seed * 31 + 1) & 0xff);
  }
  return pattern;
}

std::vector<std::byte> filled(unsigned seed, std::uint64_t length) {
  const std::vector<std::byte> pattern = pattern_of(seed);
  std::vector<std::byte> bytes;
  bytes.reserve(length);
  while (bytes.size() < length) {
    const std::size_t count = std::min<std::size_t>(pattern.size(), length - bytes.size());
    bytes.insert(bytes.end(), pattern.begin(),
                 pattern.begin() + static_cast<std::ptrdiff_t>(count));
  }
  return bytes;
}

Script first_writes(const Case& example) {
  const std::uint64_t c = example.cluster_bytes;
  if (example.is_compressed()) {
    const std::uint64_t last = round_down(example.disk_bytes(), c);
    Script script = {{Action::write_compressed, 0, 3 * c, 1},
                     {Action::write_compressed, 5 * c, c, 2},
                     {Action::write, 4 * c, c, 3}};
    if (last < example.disk_bytes()) {
      script.push_back({Action::write_compressed, last, example.disk_bytes() - last, 4});
    }
    return script;
  }
  return {{Action::write, 0, 2 * c + c / 2, 1}, {Action::write, 5 * c - 512, 1024, 2}};
}

Script write_script(const Case& example, Actor actor) {
  const std::uint64_t c = example.cluster_bytes;
  const std::uint64_t size = example.disk_bytes();
  Script script = first_writes(example) + Script{
                                              {Action::write, 100, 300, 3},
                                              {Action::write, c / 2, 3 * c, 4},
                                              {Action::flush},
                                              {Action::write, size - 700, 700, 5},
                                              {Action::write, 6 * c + 1, 1, 6},
                                              {Action::write, size / 2 + 3, size / 8, 7},
                                              {Action::write, 0, c, 8},
                                          };
  if (example.is_compressed() && actor == Actor::varve) {
    // Over data, over compressed data, and the disk's last, cut cluster. QEMU compresses only into
    // clusters that hold nothing yet.
    const std::uint64_t last = round_down(size - 1, c);
    script.push_back({Action::write_compressed, c, c, 1});
    script.push_back({Action::write_compressed, 5 * c, c, 4});
    script.push_back({Action::write_compressed, last, size - last, 2});
  }
  return script;
}

Script discard_script(const Case& example, Actor) {
  const std::uint64_t c = example.cluster_bytes;
  const std::uint64_t size = example.disk_bytes();
  return first_writes(example) + Script{
                                     {Action::write, size / 2, size / 4, 3},
                                     {Action::write, size - 900, 900, 4},
                                     {Action::discard, 0, c},
                                     {Action::discard, c + c / 2, c},
                                     {Action::discard, 3 * c + 5, 3 * c},
                                     {Action::flush},
                                     {Action::discard, size / 2 + c, size - (size / 2 + c)},
                                     {Action::write, c / 4, 100, 5},
                                     {Action::write, size - 50, 50, 6},
                                     {Action::discard, 7 * c, c - 512},
                                 };
}

Script zero_script(const Case& example, Actor) {
  const std::uint64_t c = example.cluster_bytes;
  const std::uint64_t size = example.disk_bytes();
  return first_writes(example) + Script{
                                     {Action::write, size / 2, size / 4, 3},
                                     {Action::write, size - 900, 900, 4},
                                     {Action::zero, 0, c},
                                     {Action::zero_unmap, c, c},
                                     {Action::zero_unmap, 2 * c + 7, c / 2},
                                     {Action::flush},
                                     {Action::zero, 4 * c + c / 4, 2 * c + c / 8},
                                     {Action::zero_unmap, size / 2 + 11, size / 8},
                                     {Action::zero, size - 200, 200},
                                     {Action::zero_unmap, size - 1000, 100},
                                     {Action::write, c / 2, c, 5},
                                     {Action::write, size / 2 + c + 1, 10, 6},
                                 };
}

Script grow_script(const Case& example, Actor) {
  const std::uint64_t c = example.cluster_bytes;
  const std::uint64_t size = example.disk_bytes();
  const std::uint64_t larger = round_up(size, c) + 3 * c + 1024;
  const std::uint64_t largest = larger + 40 * std::min<std::uint64_t>(c, 4096) + 512;
  return first_writes(example) + Script{
                                     {Action::write, size - 300, 300, 3},
                                     {Action::grow, larger},
                                     {Action::write, larger - 2000, 2000, 4},
                                     {Action::write, size - 100, 400, 5},
                                     {Action::flush},
                                     {Action::grow, largest},
                                     {Action::write, larger + 100, 100, 6},
                                     {Action::zero, 0, c},
                                 };
}

Script script_of(const ChangedCase& changed, Actor actor) {
  switch (changed.change) {
    case Change::writes:
      return write_script(changed.example, actor);
    case Change::discards:
      return discard_script(changed.example, actor);
    case Change::zeros:
      return zero_script(changed.example, actor);
    case Change::growth:
      return grow_script(changed.example, actor);
  }
  return {};
}

Content backing_content(const Case& example) {
  return filled(kBackingSeed, example.backing_bytes());
}

Content new_content(const Case& example) {
  Content content;
  if (example.kind == Kind::backing) {
    content = backing_content(example);
  }
  content.resize(example.disk_bytes());
  return content;
}

void apply(const Case& example, Actor actor, const Script& script, Content& content) {
  for (const Step& step : script) {
    const auto begin = content.begin() +
                       static_cast<std::ptrdiff_t>(step.action == Action::grow ? 0 : step.offset);
    switch (step.action) {
      case Action::write:
      case Action::write_compressed:
        std::ranges::copy(filled(step.seed, step.length), begin);
        break;
      case Action::zero:
      case Action::zero_unmap:
        std::fill_n(begin, step.length, std::byte{0});
        break;
      case Action::discard:
        discard(example, actor, step, content);
        break;
      case Action::flush:
        break;
      case Action::grow:
        content.resize(step.offset);
        break;
    }
  }
}

}  // namespace varve::interop
