// A program that reads, writes, zeroes, discards, flushes and grows a disk, and takes, applies and
// deletes snapshots of it meanwhile, until it is killed. It tells the SharedLog what may be found.
#pragma once

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <varve/engine.h>
#include <varve/image.h>
#include <varve/snapshot_operation.h>

#include "kill/shared_log.h"
#include "sim/random.h"

namespace varve::test {

class KillWorker {
 public:
  KillWorker(SharedLog& log, Engine& engine, Image& image, std::uint32_t cluster_bytes,
             std::uint64_t seed)
      : log_(log),
        engine_(engine),
        image_(image),
        cluster_sectors_(cluster_bytes / kKillSectorBytes),
        random_(seed),
        is_busy_(kKillSectors, false),
        completed_(kKillSectors) {
    for (std::size_t i = 0; i < kKillSectors; ++i) {
      completed_[i] = log_.disk[i].next() - 1;
    }
    for (auto& slot : slots_) {
      slot.worker = this;
    }
  }

  // Returns when so many requests were made, or something was wrong (see the log).
  void run(std::uint64_t requests) {
    for (std::uint64_t i = 0; i < requests && log_.failure[0] == '\0'; ++i) {
      step();
    }
    while (in_flight_ != 0 || operation_ != nullptr) {
      engine_.poll();
      move_on();
    }
  }

 private:
  struct Slot {
    KillWorker* worker = nullptr;
    BlockRequest request;
    IoVector vector;
    std::vector<std::byte> bytes;
    bool is_used = false;
    std::size_t first = 0;
    std::size_t count = 0;
    std::vector<std::uint32_t> flushed;  // Of a flush: what had completed before it, by sector.
  };
  enum class Kind : std::uint32_t { none, create, apply, remove, grow };
  static constexpr std::size_t kDepth = 10;
  static constexpr std::size_t kRequestSectorsMax = 40;

  void step() {
    engine_.poll();
    move_on();
    if (random_.below(100) < 10) {
      start_control();
    }
    const auto slot =
        std::find_if(slots_.begin(), slots_.end(), [](const Slot& each) { return !each.is_used; });
    if (slot == slots_.end()) {
      engine_.wait();
      return;
    }
    const std::uint64_t kind = random_.below(100);
    if (kind < 8) {
      flush(*slot);
    } else if (!is_applying_ && kind < 30) {
      read(*slot);
    } else if (!is_applying_) {
      change(*slot, kind);
    }
  }

  [[nodiscard]] std::size_t sectors() const {
    return static_cast<std::size_t>(log_.size.load() / kKillSectorBytes);
  }
  // Free sectors near a random place; none found: count 0.
  bool pick(Slot& slot, bool whole_clusters) {
    const std::size_t unit = whole_clusters ? cluster_sectors_ : 1;
    const std::size_t units = sectors() / unit;
    slot.first = static_cast<std::size_t>(random_.below(units)) * unit;
    slot.count = whole_clusters ? unit
                                : std::min<std::size_t>(random_.between(1, kRequestSectorsMax),
                                                        sectors() - slot.first);
    for (std::size_t i = slot.first; i < slot.first + slot.count; ++i) {
      if (is_busy_[i] || log_.disk[i].is_full()) {
        return false;
      }
    }
    return true;
  }
  void submit(Slot& slot, BlockOperation operation) {
    slot.is_used = true;
    slot.request = BlockRequest();
    slot.request.operation = operation;
    slot.request.offset = slot.first * kKillSectorBytes;
    slot.request.length = slot.count * kKillSectorBytes;
    slot.request.may_unmap = random_.chance(50);
    slot.vector = {slot.bytes.data(), slot.bytes.size()};
    slot.request.vectors = &slot.vector;
    slot.request.vector_count = slot.bytes.empty() ? 0 : 1;
    slot.request.owner = &slot;
    slot.request.complete = [](BlockRequest& request, const Result<void>& result) {
      Slot& done = *static_cast<Slot*>(request.owner);
      done.worker->completed(done, result);
    };
    ++in_flight_;
    log_.requests.fetch_add(1);
    image_.submit(slot.request);
  }
  void flush(Slot& slot) {
    if (is_flushing_) {
      return;
    }
    is_flushing_ = true;
    slot.first = slot.count = 0;
    slot.bytes.clear();
    slot.flushed = completed_;
    submit(slot, BlockOperation::flush);
  }
  void read(Slot& slot) {
    if (!pick(slot, false)) {
      return;
    }
    slot.bytes.assign(slot.count * kKillSectorBytes, std::byte{0xee});
    hold(slot, true);
    submit(slot, BlockOperation::read);
  }
  void change(Slot& slot, std::uint64_t kind) {
    const bool is_compressed = kind < 35;
    const bool is_discard = !is_compressed && kind < 42;
    if (!pick(slot, is_compressed || is_discard)) {
      return;
    }
    const bool is_zero = is_discard || (!is_compressed && kind < 50);
    const model::Stamp stamp = is_zero ? model::kZeroStamp : log_.next_stamp.fetch_add(1);
    slot.bytes.resize(is_zero ? 0 : slot.count * kKillSectorBytes);
    model::fill_stamp(slot.bytes, stamp, slot.first * kKillSectorBytes);
    hold(slot, true);
    for (std::size_t i = slot.first; i < slot.first + slot.count; ++i) {
      log_.disk[i].add(stamp);
    }
    submit(slot, is_compressed ? BlockOperation::write_compressed
                 : is_discard  ? BlockOperation::discard
                 : is_zero     ? BlockOperation::write_zeroes
                               : BlockOperation::write);
  }
  void hold(const Slot& slot, bool busy) {
    std::fill_n(is_busy_.begin() + static_cast<std::ptrdiff_t>(slot.first), slot.count, busy);
  }
  void completed(Slot& slot, const Result<void>& result) {
    slot.is_used = false;
    --in_flight_;
    if (!result) {
      log_.fail("a request failed: " + describe(result.error()));
    }
    hold(slot, false);
    switch (slot.request.operation) {
      case BlockOperation::read:
        for (std::size_t i = 0; i < slot.count; ++i) {
          const ConstBytes sector = ConstBytes(slot.bytes).subspan(i * kKillSectorBytes, 512);
          const std::size_t index = slot.first + i;
          if (model::identify_sector(sector) !=
              model::identity_of(log_.disk[index].newest(), index)) {
            log_.fail("the disk shows another value while running");
          }
        }
        break;
      case BlockOperation::flush:
        is_flushing_ = false;
        for (std::size_t i = 0; i < kKillSectors; ++i) {
          log_.disk[i].forget_before(slot.flushed[i]);
        }
        break;
      default:
        for (std::size_t i = slot.first; i < slot.first + slot.count; ++i) {
          completed_[i] = log_.disk[i].next() - 1;
        }
        break;
    }
  }

  // Snapshot operations, and growth.
  void start_control() {
    if (operation_ != nullptr || is_applying_) {
      return;
    }
    const std::uint64_t choice = random_.below(100);
    if (choice < 8) {
      grow();
      return;
    }
    const bool wants_create = choice < 45;
    std::vector<std::size_t> places;
    for (std::size_t i = 0; i < kKillSnapshots; ++i) {
      const SnapshotLog::State state = log_.snapshots[i].state.load();
      if (state == (wants_create ? SnapshotLog::State::none : SnapshotLog::State::published)) {
        places.push_back(i);
      }
    }
    if (places.empty()) {
      return;
    }
    place_ = random_.pick(places);
    if (wants_create) {
      start_create_of();
    } else if (choice < 72) {
      is_applying_ = true;  // Begins when nothing is in flight, and nothing but flushes comes.
    } else {
      log_.snapshots[place_].state.store(SnapshotLog::State::deleting);
      start(Kind::remove);
    }
  }
  void grow() {
    const std::uint64_t old = log_.size.load();
    const std::uint64_t size =
        std::min<std::uint64_t>(kKillSectors, old / kKillSectorBytes + random_.between(1, 96)) *
        kKillSectorBytes;
    for (std::size_t i = old / kKillSectorBytes; i < size / kKillSectorBytes; ++i) {
      log_.disk[i].set(model::kZeroStamp);
      completed_[i] = log_.disk[i].next() - 1;
    }
    log_.next_size.store(size);
    log_.activity.store(static_cast<std::uint32_t>(Kind::grow));
    if (const Result<void> grown = image_.grow(size); !grown) {
      log_.fail("growing failed: " + describe(grown.error()));
    }
    log_.activity.store(0);
    log_.size.store(size);
  }
  void start_create_of() {
    SnapshotLog& snapshot = log_.snapshots[place_];
    const std::string name = "s" + std::to_string(log_.next_name.fetch_add(1));
    snapshot.name.fill('\0');
    name.copy(snapshot.name.data(), snapshot.name.size() - 1);
    snapshot.state.store(SnapshotLog::State::creating);
    start(Kind::create);
  }
  void start(Kind kind) {
    kind_ = kind;
    is_frozen_ = false;
    log_.activity.store(static_cast<std::uint32_t>(kind));
    OperationOptions options;
    options.stepwise = random_.chance(40);
    options.owner = this;
    options.changed = [](SnapshotOperation& operation, void* owner) {
      static_cast<KillWorker*>(owner)->changed(operation);
    };
    const std::string name = log_.snapshots[place_].name.data();
    auto started = [&]() -> Result<std::unique_ptr<SnapshotOperation>> {
      if (kind == Kind::create) {
        SnapshotCreateOptions wishes;
        wishes.name = name;
        return start_create(image_, wishes, options);
      }
      const auto index = find_snapshot(image_, {name, SnapshotReference::By::name});
      if (!index) {
        return index.error();
      }
      return kind == Kind::apply ? start_apply(image_, *index, options)
                                 : start_delete(image_, *index, options);
    }();
    if (started) {
      operation_ = std::move(*started);
    } else {
      log_.fail("an operation does not start: " + describe(started.error()));
    }
  }
  void changed(const SnapshotOperation& operation) {
    const SnapshotPhase phase = operation.progress().phase;
    log_.phase.store(static_cast<std::uint32_t>(phase));
    if (kind_ == Kind::create && phase == SnapshotPhase::walking) {
      note_freeze();
    }
  }
  void note_freeze() {
    if (std::exchange(is_frozen_, true)) {
      return;
    }
    SnapshotLog& snapshot = log_.snapshots[place_];
    snapshot.size = log_.size.load();
    for (std::size_t i = 0; i < sectors(); ++i) {
      snapshot.sectors[i] = {log_.disk[i].at(completed_[i]), log_.disk[i].newest()};
    }
    snapshot.state.store(SnapshotLog::State::frozen);
  }
  void move_on() {
    if (is_applying_ && operation_ == nullptr && in_flight_ == 0) {
      log_.next_size.store(log_.snapshots[place_].size);
      log_.applying.store(static_cast<std::uint32_t>(place_ + 1));
      start(Kind::apply);
    }
    if (operation_ == nullptr) {
      return;
    }
    const SnapshotPhase phase = operation_->progress().phase;
    if (phase == SnapshotPhase::done) {
      finish();
    } else if (random_.chance(40) && phase == SnapshotPhase::ready) {
      if (operation_->freeze()) {
        note_freeze();
      }
    } else if (random_.chance(40) &&
               (phase == SnapshotPhase::frozen || phase == SnapshotPhase::reclaiming)) {
      static_cast<void>(operation_->publish());
    } else if (kind_ == Kind::create && random_.below(2000) < 1) {
      is_cancelled_ = true;
      operation_->cancel();
    }
  }
  void finish() {
    const Result<void> result = operation_->result();
    const bool was_cancelled = std::exchange(is_cancelled_, false) && !result &&
                               result.error().code == ErrorCode::cancelled;
    operation_.reset();
    if (!result && !was_cancelled) {
      log_.fail("an operation failed: " + describe(result.error()));
      return;
    }
    SnapshotLog& snapshot = log_.snapshots[place_];
    if (kind_ == Kind::create) {
      snapshot.state.store(result ? SnapshotLog::State::published : SnapshotLog::State::none);
    } else if (kind_ == Kind::remove) {
      snapshot.state.store(SnapshotLog::State::none);
    } else {
      note_applied(snapshot);
    }
    log_.operations.fetch_add(1);
    log_.activity.store(0);
  }
  // First everything the new disk may show is allowed, then everything else forbidden.
  void note_applied(const SnapshotLog& snapshot) {
    std::vector<std::byte> bytes(static_cast<std::size_t>(snapshot.size));
    if (const Result<void> read = image_.read(0, bytes); !read) {
      log_.fail("reading the applied disk: " + describe(read.error()));
    }
    for (std::size_t i = 0; i < snapshot.size / kKillSectorBytes; ++i) {
      const auto identity =
          model::identify_sector(ConstBytes(bytes).subspan(i * kKillSectorBytes, kKillSectorBytes));
      const auto stamp = static_cast<model::Stamp>(identity >> 32);
      if (!snapshot.allows(i, stamp) || identity != model::identity_of(stamp, i)) {
        log_.fail("the applied disk is not the snapshot's");
      }
      log_.disk[i].set(stamp);
      completed_[i] = log_.disk[i].next() - 1;
    }
    log_.size.store(snapshot.size);
    log_.applying.store(0);
    is_applying_ = false;
  }

  SharedLog& log_;
  Engine& engine_;
  Image& image_;
  std::size_t cluster_sectors_;
  sim::Random random_;
  std::array<Slot, kDepth> slots_;
  std::vector<bool> is_busy_;
  std::vector<std::uint32_t> completed_;  // By sector: the position of the last value completed.
  std::unique_ptr<SnapshotOperation> operation_;
  Kind kind_ = Kind::none;
  std::size_t place_ = 0;
  unsigned in_flight_ = 0;
  bool is_flushing_ = false;
  bool is_applying_ = false;
  bool is_frozen_ = false;
  bool is_cancelled_ = false;
};

}  // namespace varve::test
