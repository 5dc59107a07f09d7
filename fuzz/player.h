// Player: does what records say with an image. Of a sound image every answer and all content are
// judged beside a plain disk; of a damaged one that each answer is defined, and that what has just
// been written is read again.
//
// Threads: the calling one. Lifetime: the world outlives the player.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include <varve/image.h>

#include "input.h"
#include "plain_disk.h"
#include "states.h"
#include "world.h"

namespace varve::fuzz {

enum class Step : std::uint8_t {
  write,
  write_compressed,
  write_zeroes,
  discard,
  flush,
  read,
  snapshot_create,
  snapshot_apply,
  snapshot_delete,
  snapshot_rename,
  snapshot_read,
  reopen,
  grow,
  check,
  status,
  state_read,
  state_drop,
};
inline constexpr unsigned kStepCount = 17;

enum class Judgement : std::uint8_t {
  none,     // The image is only being made.
  sound,    // Everything.
  damaged,  // What must hold of any image.
};

class Player {
 public:
  Player(World& world, Judgement judgement);
  Player(const Player&) = delete;
  Player& operator=(const Player&) = delete;

  // For a canary: the model forgets zeroes, so that sound images are judged wrong.
  bool forgets_zeroes = false;

  // Opens the image and goes through the steps; ends early where it cannot be opened.
  void play(const std::vector<Record>& records);
  // Closes it; sound ones are judged closed as well.
  void finish();

 private:
  struct Range {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
  };
  [[nodiscard]] bool open();
  void close();
  void step(const Record& record);
  [[nodiscard]] Range range_of(const Record& record, bool is_compressed) const;

  // True when it succeeded. An error of a sound image must be one that `may_fail` allows.
  bool judge(const char* what, const Result<void>& result, bool may_fail = false);
  [[nodiscard]] bool is_sound() const noexcept { return judgement_ != Judgement::damaged; }

  void write(const Record& record, bool is_compressed);
  void write_zeroes(const Record& record);
  void discard(const Record& record);
  void read(const Record& record);
  void read_snapshot(const Record& record);
  void take_snapshot(const Record& record);
  void change_snapshots(const Record& record, Step step);
  void read_state(const Record& record);
  void drop_state(const Record& record);
  void expect_state(Image& image, std::size_t index);
  void grow(const Record& record);
  void check_open();
  void ask_status(const Record& record);
  void read_back(const Range& range, ConstBytes written);
  void compare(Image& image, PlainDisk& disk, const char* what);
  void compare_closed();

  World& world_;
  Judgement judgement_;
  std::unique_ptr<Image> image_;
  PlainDisk disk_;
  struct Snapshot {
    PlainDisk disk;
    State state;  // Nothing: a disk snapshot.
  };
  std::vector<Snapshot> snapshots_;
};

// Makes, fills and closes the image of a recipe, and damages it. False where it cannot be.
[[nodiscard]] bool make_image(World& world);

}  // namespace varve::fuzz
