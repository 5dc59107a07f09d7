// Goal: no short sequence of operations breaks an image. Method: every sequence of a small
// alphabet, on images of a few clusters, from a blank and from a used start; everything compared
// and checked after each operation.
//
// VARVE_EXHAUSTIVE_LENGTH sets the length of the sequences (default 3; 4 takes minutes).
#include <gtest/gtest.h>

#include "base/units.h"
#include "model/scenarios.h"
#include "sim/random.h"

namespace varve::model {
namespace {

struct Letter {
  const char* name;
  // Unset: close and open again.
  void (*act)(Session& session);
  // Sequences with a letter that makes no sense where it stands are passed over.
  bool (*fits)(const Guest& guest, const GeometryCase& geometry) = nullptr;
};

bool has_snapshot(const Guest& guest, const GeometryCase& geometry) {
  return geometry.can_snapshot() && !guest.now().snapshots.empty();
}

constexpr Letter kLetters[] = {
    {"write cluster 0", [](Session& s) { s.write(0, s.cluster()); }},
    {"write across clusters",
     [](Session& s) { s.write(2 * s.cluster() - kSectorBytes, 2 * kSectorBytes); }},
    {"write the end", [](Session& s) { s.write(s.size() - kSectorBytes, kSectorBytes); }},
    {"zero cluster 0", [](Session& s) { s.write_zeroes(0, s.cluster(), false); }},
    {"zero part of cluster 1 with unmap",
     [](Session& s) { s.write_zeroes(s.cluster(), kSectorBytes, true); }},
    {"zero clusters 0 to 2 with unmap",
     [](Session& s) { s.write_zeroes(0, 3 * s.cluster(), true); }},
    {"discard cluster 0", [](Session& s) { s.discard(0, s.cluster()); }},
    {"discard everything", [](Session& s) { s.discard(0, s.size()); }},
    {"compress cluster 0", [](Session& s) { s.write_compressed(0); }},
    {"compress cluster 1", [](Session& s) { s.write_compressed(1); }},
    {"flush", [](Session& s) { s.flush(); }},
    {"grow", [](Session& s) { s.grow(s.cluster() + kSectorBytes); }},
    {"create snapshot", [](Session& s) { s.create_snapshot("one more"); },
     [](const Guest&, const GeometryCase& geometry) { return geometry.can_snapshot(); }},
    {"apply snapshot", [](Session& s) { s.apply_snapshot(0); }, has_snapshot},
    {"delete snapshot", [](Session& s) { s.delete_snapshot(0); }, has_snapshot},
    {"reopen", nullptr},
};
constexpr std::size_t kLetterCount = std::size(kLetters);

struct Start {
  GeometryCase geometry;
  bool used = false;
  [[nodiscard]] std::string name() const { return geometry.name + (used ? "Used" : "Blank"); }
};
std::ostream& operator<<(std::ostream& stream, const Start& start) {
  return stream << start.name();
}

class Exhaustive : public testing::TestWithParam<Start> {
 protected:
  Exhaustive() : lab_(GetParam().geometry) {}

  // Runs one sequence from the prepared start. False when a letter did not fit.
  bool run(const std::vector<std::size_t>& word) {
    DiskPair disk(prepared_->files);
    auto image = lab_.open_disks(disk, lab_.open_options(true));
    EXPECT_TRUE(image.has_value()) << describe(image.error());
    if (!image) {
      return true;
    }
    sim::Moment clock = 0;
    Guest guest(
        lab_.rules(), prepared_->version, [&clock] { return ++clock; }, prepared_->next_stamp);
    for (const std::size_t letter : word) {
      if (kLetters[letter].fits != nullptr && !kLetters[letter].fits(guest, GetParam().geometry)) {
        EXPECT_TRUE(guest.close(**image));
        return false;
      }
      if (!play(kLetters[letter], disk, *image, guest)) {
        return true;
      }
    }
    look(**image, guest);
    close(disk, *image, guest);
    return true;
  }

 private:
  bool play(const Letter& letter, DiskPair& disk, std::unique_ptr<Image>& image, Guest& guest) {
    if (letter.act == nullptr) {
      if (!close(disk, image, guest)) {
        return false;
      }
      auto opened = lab_.open_disks(disk, lab_.open_options(true));
      EXPECT_TRUE(opened.has_value()) << describe(opened.error());
      if (!opened) {
        return false;
      }
      image = std::move(*opened);
    } else {
      Session session(*image, guest, GetParam().geometry);
      letter.act(session);
      EXPECT_FALSE(session.failure()) << letter.name << ": " << describe(*session.failure());
    }
    const auto verdict = guest.judge_now(view_of(*image));
    EXPECT_FALSE(verdict) << "after " << letter.name << ": " << *verdict;
    return !HasFailure();
  }

  static void look(Image& image, const Guest& guest) {
    const auto checked = check_image(image, false, false);
    EXPECT_FALSE(checked) << *checked;
    EXPECT_EQ(guest.violation(), "");
  }

  bool close(DiskPair& disk, std::unique_ptr<Image>& image, Guest& guest) {
    const Result<void> closed = guest.close(*image);
    EXPECT_TRUE(closed) << describe(closed.error());
    image.reset();
    std::string why;
    const auto reference = lab_.reference(disk.image.content, disk.data.content, why);
    EXPECT_TRUE(reference) << why;
    if (reference) {
      const auto checked = check_bytes(*reference, false, true);
      EXPECT_FALSE(checked) << *checked;
      const auto verdict = guest.judge_now(view_of(*reference));
      EXPECT_FALSE(verdict) << "reference: " << *verdict;
    }
    return !HasFailure();
  }

 protected:
  Lab lab_;
  std::optional<Prepared> prepared_;
};

TEST_P(Exhaustive, EverySequenceKeepsTheImageWhole) {
  Scenario start;
  start.prepare = [](Session& session) {
    if (GetParam().used) {
      session.write(0, 2 * session.cluster());
      if (session.geometry().can_snapshot()) {
        session.create_snapshot("start");
        session.write(session.cluster(), kSectorBytes);
      }
    }
  };
  std::string why;
  prepared_ = prepare(lab_, start, why);
  ASSERT_TRUE(prepared_) << why;
  const std::uint64_t length = sim::environment_number("VARVE_EXHAUSTIVE_LENGTH", 3);
  std::uint64_t count = 1;
  for (std::uint64_t i = 0; i < length; ++i) {
    count *= kLetterCount;
  }
  std::uint64_t played = 0;
  for (std::uint64_t number = 0; number < count; ++number) {
    std::vector<std::size_t> word;
    std::string text;
    std::uint64_t rest = number;
    for (std::uint64_t i = 0; i < length; ++i, rest /= kLetterCount) {
      word.push_back(static_cast<std::size_t>(rest % kLetterCount));
      text += std::string(i > 0 ? ", " : "") + kLetters[word.back()].name;
    }
    SCOPED_TRACE("sequence " + std::to_string(number) + ": " + text);
    played += run(word) ? 1 : 0;
    if (HasFailure()) {
      return;
    }
  }
  RecordProperty("sequences", std::to_string(played));
}

std::vector<Start> starts() {
  std::vector<Start> list;
  for (GeometryCase geometry : geometry_cases()) {
    // A few clusters are enough, and quicker.
    if (geometry.name == "C512Refcount1" || geometry.name == "C4kVersion2Backing" ||
        geometry.name == "C16kExtendedBacking" || geometry.name == "C4k" ||
        geometry.name == "C512Refcount64") {
      geometry.create.size_bytes = 3 * geometry.cluster_bytes() + kSectorBytes;
      geometry.backing_bytes = geometry.backing_bytes > 0 ? 2 * geometry.cluster_bytes() : 0;
      list.push_back({geometry, false});
      list.push_back({geometry, true});
    }
  }
  return list;
}

INSTANTIATE_TEST_SUITE_P(Starts, Exhaustive, testing::ValuesIn(starts()),
                         [](const testing::TestParamInfo<Start>& parameter) {
                           return parameter.param.name();
                         });

}  // namespace
}  // namespace varve::model
