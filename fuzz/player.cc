#include "player.h"

#include <varve/check.h>
#include <varve/snapshot.h>

#include "base/checked.h"
#include "base/units.h"
#include "judge.h"

namespace varve::fuzz {
namespace {

constexpr std::size_t kSnapshotsMax = 6;

// What a discard may leave of a sector: what it held, or zeros.
bool is_old_or_zero(ConstBytes found, ConstBytes old) {
  return equal_bytes(found, old) || is_all_zero(found);
}

}  // namespace

Player::Player(World& world, Judgement judgement) : world_(world), judgement_(judgement) {
  disk_.resize(world.recipe().create.size_bytes, world.recipe().window_bytes());
  if (world.has_below()) {
    world.read_below(0, disk_.bytes);
  }
}

bool Player::open() {
  auto image = world_.open(world_.options(true));
  if (is_good(image)) {
    image_ = std::move(*image);
    return true;
  }
  must(!is_sound(), "a sound image cannot be opened: " + describe(image.error()));
  return false;
}

void Player::close() {
  if (image_) {
    judge("closing", image_->close());
    image_.reset();
  }
}

void Player::play(const std::vector<Record>& records) {
  if (image_ == nullptr && !open()) {
    return;
  }
  for (const Record& record : records) {
    step(record);
    if (image_ == nullptr) {
      return;
    }
  }
}

void Player::finish() {
  close();
  if (judgement_ == Judgement::sound) {
    compare_closed();
  }
}

bool Player::judge(const char* what, const Result<void>& result, bool may_fail) {
  if (is_sound() && !may_fail) {
    must_succeed(what, result);
  }
  return is_good(result);
}

void Player::step(const Record& record) {
  switch (const auto kind = static_cast<Step>(record.code % kStepCount)) {
    case Step::write:
    case Step::write_compressed:
      return write(record, kind == Step::write_compressed);
    case Step::write_zeroes:
      return write_zeroes(record);
    case Step::discard:
      return discard(record);
    case Step::flush:
      judge("flushing", image_->flush());
      return;
    case Step::read:
      return read(record);
    case Step::snapshot_create:
      return take_snapshot(record);
    case Step::snapshot_apply:
    case Step::snapshot_delete:
    case Step::snapshot_rename:
      return change_snapshots(record, kind);
    case Step::snapshot_read:
      return read_snapshot(record);
    case Step::reopen:
      close();
      static_cast<void>(open());
      return;
    case Step::grow:
      return grow(record);
    case Step::check:
      return check_open();
    case Step::status:
      return ask_status(record);
    case Step::state_read:
      return read_state(record);
    case Step::state_drop:
      return drop_state(record);
  }
}

// Clusters, sectors, bytes or parts of clusters, inside the window.
Player::Range Player::range_of(const Record& record, bool is_compressed) const {
  const std::uint64_t cluster = world_.recipe().create.cluster_bytes;
  const std::array<std::uint64_t, 4> units = {cluster, kSectorBytes, 1,
                                              std::max(cluster / 32, kSectorBytes)};
  const std::uint64_t unit = is_compressed ? cluster : units[record.small & 3];
  // A damaged image may have become small.
  const std::uint64_t window =
      std::min<std::uint64_t>(image_->size(), world_.recipe().window_bytes());
  if (window == 0) {
    return {};
  }
  Range range;
  range.offset = record.large % ((window + unit - 1) / unit) * unit;
  const std::uint64_t most = unit == cluster ? 6 : unit == 1 ? 6000 : 40;
  range.length = std::min((1 + record.medium % most) * unit, window - range.offset);
  return range;
}

void Player::write(const Record& record, bool is_compressed) {
  const Range range = range_of(record, is_compressed);
  std::vector<std::byte> bytes(static_cast<std::size_t>(range.length));
  fill(bytes, record.small >> 2);
  const bool may_fail = is_compressed && world_.has_data_file();
  if (judge("writing",
            is_compressed ? image_->write_compressed(range.offset, bytes)
                          : image_->write(range.offset, bytes),
            may_fail)) {
    read_back(range, bytes);
    if (is_sound()) {
      copy_bytes(disk_.at(range.offset, range.length), bytes);
    }
  }
}

void Player::write_zeroes(const Record& record) {
  const Range range = range_of(record, false);
  if (judge("writing zeroes",
            image_->write_zeroes(range.offset, range.length, (record.small & 4) != 0))) {
    read_back(range, std::vector<std::byte>(static_cast<std::size_t>(range.length)));
    if (is_sound() && !forgets_zeroes) {
      zero_bytes(disk_.at(range.offset, range.length));
    }
  }
}

// A hint: each sector is what it was or zeros, and stays that.
void Player::discard(const Record& record) {
  const Range range = range_of(record, false);
  if (!judge("discarding", image_->discard(range.offset, range.length)) || !is_sound()) {
    return;
  }
  std::vector<std::byte> found(static_cast<std::size_t>(range.length));
  must_succeed("reading what was discarded", image_->read(range.offset, found));
  const Bytes old = disk_.at(range.offset, range.length);
  for (std::size_t at = 0; at < found.size();) {
    const std::size_t length = std::min<std::size_t>(
        kSectorBytes - (static_cast<std::size_t>(range.offset) + at) % kSectorBytes,
        found.size() - at);
    must(is_old_or_zero(ConstBytes(found).subspan(at, length), old.subspan(at, length)),
         "a discard shows what was neither there nor zeros");
    at += length;
  }
  copy_bytes(old, found);
}

void Player::read_back(const Range& range, ConstBytes written) {
  // Where a count was too low, two clusters may have come to name the same place.
  const std::uint64_t cluster = world_.recipe().create.cluster_bytes;
  const bool is_one = range.offset / cluster == (range.offset + range.length - 1) / cluster;
  if (judgement_ == Judgement::none || (!is_sound() && !is_one)) {
    return;
  }
  std::vector<std::byte> found(written.size());
  if (judge("reading what was written", image_->read(range.offset, found))) {
    must(equal_bytes(found, written), "not what was written is read");
  }
}

void Player::read(const Record& record) {
  const Range range = range_of(record, false);
  std::vector<std::byte> found(static_cast<std::size_t>(range.length));
  if (judge("reading", image_->read(range.offset, found)) && judgement_ == Judgement::sound) {
    must(equal_bytes(found, disk_.at(range.offset, range.length)),
         "the disk differs from the model");
  }
}

void Player::read_snapshot(const Record& record) {
  const auto list = list_snapshots(*image_);
  if (!is_good(list) || list->empty()) {
    return;
  }
  const std::size_t index = record.medium % list->size();
  auto view = open_snapshot(*image_, index);
  if (!judge("opening a snapshot", view ? Result<void>() : view.error())) {
    return;
  }
  if (judgement_ == Judgement::sound) {
    compare(**view, snapshots_[index].disk, "a snapshot differs from the model");
  } else {
    std::vector<std::byte> bytes(static_cast<std::size_t>(
        std::min<std::uint64_t>((*view)->size(), world_.recipe().window_bytes())));
    static_cast<void>(is_good((*view)->read(0, bytes)));
  }
  static_cast<void>(is_good((*view)->close()));
}

void Player::take_snapshot(const Record& record) {
  const CreateOptions& create = world_.recipe().create;
  const auto list = list_snapshots(*image_);
  if (!is_good(list) || list->size() >= kSnapshotsMax) {
    return;
  }
  SnapshotCreateOptions options;
  options.name = std::string(record.medium % 20, static_cast<char>('a' + record.small % 26));
  std::unique_ptr<StateWriter> writer;
  const std::optional<State> state = state_of(record);
  if (state) {
    auto written = write_state(world_, *image_, *state, record.medium % 2 != 0);
    if (!judge("writing a state", written ? Result<void>() : written.error(),
               world_.has_data_file())) {
      return;
    }
    writer = std::move(*written);
    options.state = writer.get();
  }
  // Counts that would not fit are refused.
  const auto made = create_snapshot(*image_, options);
  if (judge("taking a snapshot", made ? Result<void>() : made.error(),
            world_.has_data_file() || create.refcount_bits <= 4)) {
    snapshots_.push_back({disk_, state.value_or(State())});
  }
}

void Player::change_snapshots(const Record& record, Step step) {
  const CreateOptions& create = world_.recipe().create;
  const auto list = list_snapshots(*image_);
  if (!is_good(list) || list->size() > kSnapshotsMax + 1 || list->empty()) {
    return;
  }
  const std::size_t index = record.medium % list->size();
  if (step == Step::snapshot_apply) {
    // Not beside a bitmap that records.
    const bool applied = judge("applying", apply_snapshot(*image_, index),
                               world_.recipe().has_bitmaps || create.refcount_bits <= 4);
    if (applied && is_sound()) {
      disk_ = snapshots_[index].disk;
    }
  } else if (step == Step::snapshot_delete) {
    if (judge("deleting", delete_snapshot(*image_, index)) && is_sound()) {
      snapshots_.erase(snapshots_.begin() + static_cast<std::ptrdiff_t>(index));
    }
  } else {
    judge("renaming", rename_snapshot(*image_, index, std::string(record.medium % 30 + 1u, 'n')));
  }
}

void Player::read_state(const Record& record) {
  const auto list = list_snapshots(*image_);
  if (!is_good(list) || list->empty()) {
    return;
  }
  const std::size_t index = record.medium % list->size();
  if (judgement_ == Judgement::sound) {
    expect_state(*image_, index);
  } else {
    static_cast<void>(is_good(fuzz::read_state(world_, *image_, index)));
  }
  // A part of it, or what is behind it.
  const std::uint64_t size = (*list)[index].vm_state_size;
  const std::uint64_t offset = record.large % (std::min(size, 2 * kStateChunkBytes) + 2);
  std::vector<std::byte> part(1u + record.small);
  const auto result = read_vm_state(*image_, index, offset, part);
  const bool is_inside = offset + part.size() <= size;
  if (judgement_ == Judgement::sound) {
    must(result.has_value() == is_inside, "a part of a state");
    must(!is_inside ||
             equal_bytes(part, ConstBytes(snapshots_[index].state)
                                   .subspan(static_cast<std::size_t>(offset), part.size())),
         "a part of a state is another");
  } else {
    static_cast<void>(is_good(result));
  }
}

void Player::drop_state(const Record& record) {
  const auto list = list_snapshots(*image_);
  if (!is_good(list) || list->empty()) {
    return;
  }
  const std::size_t index = record.medium % list->size();
  if (judge("dropping a state", drop_snapshot_state(*image_, index)) && is_sound()) {
    snapshots_[index].state.clear();
  }
}

void Player::expect_state(Image& image, std::size_t index) {
  const auto found = fuzz::read_state(world_, image, index);
  must(found.has_value(),
       "a state cannot be read: " + (found ? std::string() : describe(found.error())));
  must(found->bytes == snapshots_[index].state, "a state differs from what was written");
}

void Player::grow(const Record& record) {
  const CreateOptions& create = world_.recipe().create;
  const std::uint64_t cluster = create.cluster_bytes;
  const std::uint64_t coverage = cluster * cluster / (create.extended_l2 ? 16 : 8);
  std::uint64_t size =
      image_->size() + (record.medium % 64) * cluster + (record.large % 8) * kSectorBytes;
  if ((record.small & 1) != 0) {
    size = std::min(size << (record.small >> 5), 2048 * coverage);
  }
  if (size < image_->size() || size > 4096 * coverage) {
    return;
  }
  const bool is_small = size <= 2 * world_.recipe().window_bytes();
  const auto preallocation = static_cast<Preallocation>(is_small ? (record.small >> 1) % 4 : 0);
  // A raw data file has no preallocated metadata, and other combinations are refused as well.
  if (judge("growing", image_->grow(size, preallocation), preallocation != Preallocation::off) &&
      is_sound()) {
    disk_.resize(round_up(size, kSectorBytes), world_.recipe().window_bytes());
  }
}

void Player::check_open() {
  const auto report = check(*image_);
  if (judge("checking", report ? Result<void>() : report.error()) && is_sound()) {
    must(report->corruptions == 0 && report->failures == 0, "while open: " + text_of(*report));
  }
}

void Player::ask_status(const Record& record) {
  const Range range = range_of(record, false);
  if (range.length == 0) {
    return;
  }
  const auto status = image_->status(range.offset, range.length);
  if (!judge("asking", status ? Result<void>() : status.error())) {
    return;
  }
  must(status->length > 0 && status->length <= range.length, "a status of another range");
  if (judgement_ == Judgement::sound && status->zero) {
    must(is_all_zero(disk_.at(range.offset, status->length)), "a status of zeros lies");
  }
}

void Player::compare(Image& image, PlainDisk& disk, const char* what) {
  must(image.size() == disk.size, std::string(what) + " in size");
  std::vector<std::byte> found(disk.bytes.size());
  must_succeed("reading a disk", image.read(0, found));
  must(equal_bytes(found, disk.bytes), what);
}

void Player::compare_closed() {
  auto image = world_.open(world_.options(false));
  must(image.has_value(), "a sound image cannot be opened again");
  compare(**image, disk_, "the disk differs from the model");
  must(list_snapshots(**image)->size() == snapshots_.size(), "not the snapshots of the model");
  for (std::size_t i = 0; i < snapshots_.size(); ++i) {
    auto view = open_snapshot(**image, i);
    must(view.has_value(), "a sound snapshot cannot be opened");
    compare(**view, snapshots_[i].disk, "a snapshot differs from the model");
    must_succeed("closing a snapshot", (*view)->close());
    expect_state(**image, i);
  }
  const auto report = check(**image);
  must(report.has_value() && report->leaks + report->corruptions + report->failures == 0,
       report ? text_of(*report) : describe(report.error()));
  must_succeed("closing", (*image)->close());
  if (can_be_judged(world_)) {
    must(expect_whole(world_, "") == 0, "the reference finds leaks");
  }
}

bool make_image(World& world) {
  if (!world.make()) {
    return false;
  }
  Player player(world, Judgement::none);
  player.play(world.recipe().making);
  player.finish();
  world.damage();
  return true;
}

}  // namespace varve::fuzz
