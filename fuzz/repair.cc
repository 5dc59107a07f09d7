// Repairing damaged images: what could be read before is read afterwards unless its loss was told,
// what is called repaired the reference calls whole, and a second repair changes nothing.
#include <algorithm>
#include <map>
#include <optional>

#include <varve/check.h>
#include <varve/snapshot.h>

#include "base/hash.h"
#include "base/units.h"
#include "judge.h"
#include "player.h"

namespace varve::fuzz {
namespace {

// What a disk shows: pieces that can be read.
using Content = std::map<std::uint64_t, std::vector<std::byte>>;

struct SeenSnapshot {
  Content disk;
  std::optional<State> state;
};

struct Seen {
  Content disk;
  std::vector<SeenSnapshot> snapshots;
  std::uint64_t size = 0;
};

Content content_of(Image& image, std::uint64_t window) {
  constexpr std::size_t kPieceBytes = 512;
  Content content;
  std::vector<std::byte> all(static_cast<std::size_t>(std::min(image.size(), window)));
  // What is read whole is not asked for again.
  const bool is_whole = is_good(image.read(0, all));
  for (std::size_t offset = 0; offset < all.size(); offset += kPieceBytes) {
    const Bytes bytes = Bytes(all).subspan(offset, std::min(kPieceBytes, all.size() - offset));
    if (is_whole || is_good(image.read(offset, bytes))) {
      content.emplace(offset, std::vector<std::byte>(bytes.begin(), bytes.end()));
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
    SeenSnapshot& snapshot = seen.snapshots.emplace_back();
    if (is_good(view)) {
      snapshot.disk = content_of(**view, window);
    }
    if (const auto state = read_state(world, **image, i); is_good(state)) {
      snapshot.state = state->bytes;
    }
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

bool is_lost(const RepairReport& report, Loss::Kind kind, std::size_t index) {
  return std::ranges::any_of(report.lost, [&](const Loss& loss) {
    return loss.kind == kind &&
           (loss.index == index || (kind == Loss::Kind::rest_of_table && loss.index < index));
  });
}

void expect_kept(const Seen& before, const Seen& after, const RepairReport& report) {
  must(before.size == after.size, "the disk has another size");
  expect_kept(before.disk, after.disk, "the disk");
  std::size_t at = 0;
  for (std::size_t i = 0; i < before.snapshots.size(); ++i) {
    if (is_lost(report, Loss::Kind::snapshot, i) || is_lost(report, Loss::Kind::rest_of_table, i)) {
      continue;
    }
    must(at < after.snapshots.size(), "a snapshot is gone");
    const std::string what = "snapshot " + std::to_string(i);
    const SeenSnapshot& was = before.snapshots[i];
    const SeenSnapshot& is = after.snapshots[at++];
    // Behind a disk of unknown size a state has no known beginning.
    if (!is_lost(report, Loss::Kind::disk_size, i)) {
      expect_kept(was.disk, is.disk, what);
      must(!was.state || is_lost(report, Loss::Kind::machine_state, i) || was.state == is.state,
           "the state of " + what + " has changed");
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

// Of the file's size and bytes; holes are zeros.
std::vector<Hash128> sums_of(World& world) {
  const sim::SparseBytes& file = world.disk().content;
  std::vector<Hash128> sums = {hash128({}, file.size())};
  file.for_each_page([&](std::uint64_t offset, ConstBytes bytes) {
    if (!is_all_zero(bytes)) {
      sums.push_back(hash128(bytes, offset));
    }
  });
  return sums;
}

std::optional<RepairReport> repair_once(World& world, Repair what) {
  OpenOptions options = world.options(true);
  options.allow_corrupt = true;
  const auto image = world.open(options);
  if (!is_good(image)) {
    return std::nullopt;
  }
  const std::vector<Hash128> before = sums_of(world);
  const auto report = repair(**image, what);
  if (!is_good(report)) {
    static_cast<void>(is_good((*image)->close()));
    return std::nullopt;
  }
  must(report->left.has_value() || is_clean(report->after),
       "neither whole nor told what is left: " + text_of(report->after));
  if (what == Repair::leaks && has_more_than_leaks(report->before)) {
    must(before == sums_of(world), "leaks alone were to be repaired, and something changed");
  }
  const std::vector<Hash128> repaired = sums_of(world);
  const auto again = repair(**image, what);
  // What a table of its own was found to lie on may have ended the first one.
  must(again.has_value() || (report->left && again.error().code == ErrorCode::poisoned),
       "a second repair fails: " + (again ? std::string() : describe(again.error())));
  must(repaired == sums_of(world), "a second repair changes something");
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
  const std::uint64_t size_before = world.disk().content.size();
  MemoryPeak::begin();
  const auto report =
      repair_once(world, world.recipe().repairs_leaks_only ? Repair::leaks : Repair::all);
  must(peak_without_file(world, size_before) <= kTrustedMemoryMax,
       "repairing costs too much memory");
  if (report) {
    judge(world, before, *report);
  }
  return 0;
}
