// Opening and reading damaged images: every answer is a result or a named error, what is read is
// what the reference reads, whoever does not trust the image pays what the budget says, and an
// image that is opened so has no two things in one place.
#include <functional>
#include <optional>

#include <varve/bitmap.h>
#include <varve/snapshot.h>

#include "judge.h"
#include "model/reference_qcow2.h"
#include "player.h"

namespace varve::fuzz {
namespace {

using Reader = std::function<bool(std::uint64_t offset, Bytes target)>;

// In pieces of a few sizes, each read alone: one that cannot be read hides no other.
void read_window(Image& image, std::uint64_t window, const Reader& reference) {
  const std::uint64_t end = std::min<std::uint64_t>(image.size(), window);
  std::vector<std::byte> all(static_cast<std::size_t>(end));
  const bool is_whole = is_good(image.read(0, all));
  constexpr std::uint64_t kPieceBytes = 4096;
  for (std::uint64_t offset = 0; offset < end; offset += kPieceBytes) {
    const auto length = static_cast<std::size_t>(std::min(kPieceBytes, end - offset));
    std::vector<std::byte> found(length);
    std::vector<std::byte> expected(length);
    static_cast<void>(is_good(image.status(offset, length)));
    const bool is_read = is_good(image.read(offset, found));
    must(is_read || !is_whole, "a part cannot be read, the whole can");
    if (is_read && reference && reference(offset, expected)) {
      must(equal_bytes(found, expected), "the reference reads something else");
    }
    must(!is_whole || equal_bytes(found, Bytes(all).subspan(offset, length)), "two reads differ");
  }
  const std::uint64_t last = std::min<std::uint64_t>(image.size(), 700);
  static_cast<void>(is_good(
      image.read(image.size() - last, Bytes(all).first(std::min<std::size_t>(all.size(), last)))));
}

void expect_state(const model::ReferenceQcow2& reference, std::size_t index,
                  const FoundState& found) {
  const model::ReferenceSnapshot& snapshot = reference.snapshots()[index];
  must(snapshot.vm_state_size == found.size, "the reference knows a state of another size");
  State expected(found.bytes.size());
  std::string why;
  if (reference.read_snapshot(index, reference.state_begin(snapshot), expected, why)) {
    must(equal_bytes(found.bytes, expected), "the reference reads another state");
  }
}

void look(World& world, const OpenOptions& options, const model::ReferenceQcow2* reference) {
  auto image = world.open(options);
  if (!is_good(image)) {
    return;
  }
  const std::uint64_t window = world.recipe().window_bytes();
  static_cast<void>((*image)->facts());
  static_cast<void>(is_good(list_bitmaps(**image)));
  std::string why;
  read_window(**image, window, [&](std::uint64_t offset, Bytes target) {
    return reference != nullptr && reference->read(offset, target, why);
  });
  const auto list = list_snapshots(**image);
  for (std::size_t i = 0; is_good(list) && i < std::min<std::size_t>(list->size(), 8); ++i) {
    const auto state = read_state(world, **image, i);
    // The reference reads through holes to what is below.
    if (is_good(state) && reference != nullptr && !world.has_below() &&
        i < reference->snapshots().size()) {
      expect_state(*reference, i, *state);
    }
    const auto view = open_snapshot(**image, i);
    if (is_good(view)) {
      read_window(**view, window, [&](std::uint64_t offset, Bytes target) {
        return reference != nullptr && i < reference->snapshots().size() &&
               reference->read_snapshot(i, offset, target, why);
      });
      static_cast<void>(is_good((*view)->close()));
    }
  }
  static_cast<void>(is_good((*image)->close()));
}

void expect_apart(const model::ReferenceQcow2& reference) {
  using Use = model::ReferenceUse;
  constexpr auto kData =
      static_cast<std::uint16_t>(Use::data) | static_cast<std::uint16_t>(Use::compressed);
  for (const std::uint16_t uses : reference.check().uses) {
    const auto tables = static_cast<std::uint16_t>(uses & ~kData);
    must((tables & (tables - 1)) == 0 && (tables == 0 || (uses & kData) == 0),
         "an untrusted image is opened whose parts overlap");
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
  OpenOptions trusted = world.options(false);
  OpenOptions untrusted = trusted;
  untrusted.untrusted = true;
  // Before the reference is asked, which is made for images that are not that bad.
  MemoryPeak::begin();
  const bool is_open = is_good(world.open(trusted));
  look(world, untrusted, nullptr);
  must(MemoryPeak::bytes() <= kUntrustedMemoryMax, "an untrusted image costs too much memory");
  std::string why;
  std::optional<model::ReferenceQcow2> reference;
  if (is_open && can_be_judged(world)) {
    reference = model::ReferenceQcow2::open(world.disk().content, why);
  }
  if (reference) {
    reference->set_backing(
        [&](std::uint64_t offset, Bytes target) { world.read_below(offset, target); });
    if (is_good(world.open(untrusted))) {
      expect_apart(*reference);
    }
  }
  MemoryPeak::begin();
  look(world, trusted, reference ? &*reference : nullptr);
  must(MemoryPeak::bytes() <= kTrustedMemoryMax, "reading costs too much memory");
  return 0;
}
