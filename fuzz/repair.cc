// Repairing damaged images: what could be read before is read afterwards unless its loss was told,
// what is called repaired the reference calls whole, and a second repair changes nothing.
#include <algorithm>
#include <map>
#include <optional>

#include <varve/check.h>
#include <varve/snapshot.h>

#include "base/units.h"
#include "judge.h"
#include "player.h"

namespace varve::fuzz {
namespace {

// What a disk shows: pieces that can be read.
using Content = std::map<std::uint64_t, std::vector<std::byte>>;

struct Seen {
  Content disk;
  std::vector<Content> snapshots;
  std::uint64_t size = 0;
};

Content content_of(Image& image, std::uint64_t window) {
  constexpr std::uint64_t kPieceBytes = 512;
  Content content;
  const std::uint64_t end = std::min<std::uint64_t>(image.size(), window);
  for (std::uint64_t offset = 0; offset < end; offset += kPieceBytes) {
    std::vector<std::byte> bytes(static_cast<std::size_t>(std::min(kPieceBytes, end - offset)));
    if (is_good(image.read(offset, bytes))) {
      content.emplace(offset, std::move(bytes));
    }
  }
  return content;
}

std::optional<Seen> see(World& world) {
  const auto image = world.open(world.options(false));
  if (!is_good(image)) {
    return std::nullopt;
  }
  Seen seen;
  // Enough to see every table, and little enough to be read piece by piece.
  const std::uint64_t window = std::min<std::uint64_t>(world.recipe().window_bytes(), 64 * kKiB);
  seen.disk = content_of(**image, window);
  seen.size = (*image)->size();
  const auto list = list_snapshots(**image);
  for (std::size_t i = 0; is_good(list) && i < std::min<std::size_t>(list->size(), 8); ++i) {
    const auto view = open_snapshot(**image, i);
    seen.snapshots.push_back(is_good(view) ? content_of(**view, window) : Content());
  }
  must_succeed("closing", (*image)->close());
  return seen;
}

void expect_kept(const Content& before, const Content& after, const std::string& what) {
  for (const auto& [offset, bytes] : before) {
    const auto found = after.find(offset);
    must(found != after.end(), what + " can no longer be read at " + std::to_string(offset));
    must(found->second == bytes, what + " has changed at " + std::to_string(offset));
  }
}

void expect_kept(const Seen& before, const Seen& after, const RepairReport& report) {
  must(before.size == after.size, "the disk has another size");
  expect_kept(before.disk, after.disk, "the disk");
  std::size_t at = 0;
  for (std::size_t i = 0; i < before.snapshots.size(); ++i) {
    bool is_gone = false;
    bool is_changed = false;
    for (const Loss& loss : report.lost) {
      is_gone = is_gone || (loss.kind == Loss::Kind::snapshot && loss.index == i) ||
                (loss.kind == Loss::Kind::rest_of_table && loss.index <= i);
      is_changed = is_changed || loss.index == i;
    }
    if (!is_gone) {
      must(at < after.snapshots.size(), "a snapshot is gone");
      if (!is_changed) {
        expect_kept(before.snapshots[i], after.snapshots[at], "snapshot " + std::to_string(i));
      }
      ++at;
    }
  }
}

bool is_clean(const CheckReport& report) {
  return report.leaks == 0 && report.corruptions == 0 && report.failures == 0;
}

// Flags that only disagree with a count that is too high are put right with it.
bool has_more_than_leaks(const CheckReport& report) {
  return std::ranges::any_of(report.findings, [](const Finding& finding) {
    return finding.severity == Severity::corruption || finding.severity == Severity::failure;
  });
}

// Nothing, where the image is too large to be kept.
std::vector<std::byte> bytes_of(World& world) {
  const sim::SparseBytes& file = world.disk().content;
  return file.size() <= kJudgedFileBytesMax ? file.flat() : std::vector<std::byte>();
}

std::optional<RepairReport> repair_once(World& world, Repair what) {
  OpenOptions options = world.options(true);
  options.allow_corrupt = true;
  const auto image = world.open(options);
  if (!is_good(image)) {
    return std::nullopt;
  }
  const std::vector<std::byte> before = bytes_of(world);
  const auto report = repair(**image, what);
  if (!is_good(report)) {
    static_cast<void>(is_good((*image)->close()));
    return std::nullopt;
  }
  must(report->left.has_value() || is_clean(report->after),
       "neither whole nor told what is left: " + text_of(report->after));
  if (what == Repair::leaks && has_more_than_leaks(report->before)) {
    must(before == bytes_of(world), "leaks alone were to be repaired, and something changed");
  }
  const std::vector<std::byte> repaired = bytes_of(world);
  const auto again = repair(**image, what);
  // What a table of its own was found to lie on may have ended the first one.
  must(again.has_value() || (report->left && again.error().code == ErrorCode::poisoned),
       "a second repair fails: " + (again ? std::string() : describe(again.error())));
  must(repaired == bytes_of(world), "a second repair changes something");
  const Result<void> closed = (*image)->close();
  must(closed.has_value() == again.has_value(), "closing after a repair");
  return std::move(*report);
}

void judge(World& world, const std::optional<Seen>& before, const RepairReport& report) {
  const auto after = see(world);
  must(after.has_value() || !is_clean(report.after), "repaired, and cannot be opened");
  must(after.has_value() || !before.has_value(), "could be opened before it was repaired");
  if (before && after) {
    expect_kept(*before, *after, report);
  }
  if (is_clean(report.after) && can_be_judged(world)) {
    expect_whole(world, "repaired, and ");
  }
}

}  // namespace
}  // namespace varve::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace varve;
  using namespace varve::fuzz;
  World world(read_recipe(data, size));
  if (!make_image(world)) {
    return 0;
  }
  const auto before = see(world);
  MemoryPeak::begin();
  const auto report =
      repair_once(world, world.recipe().repairs_leaks_only ? Repair::leaks : Repair::all);
  must(MemoryPeak::bytes() <= kTrustedMemoryMax, "repairing costs too much memory");
  if (report) {
    judge(world, before, *report);
  }
  return 0;
}
