#include "model/alphabet.h"

#include <algorithm>

#include "base/units.h"
#include "sim/random.h"

namespace varve::model {

namespace {

// A control operation waits for none that stands: it is given up first.
void end_live(Session& session) {
  if (session.is_live()) {
    session.cancel();
    session.finish();
  }
}

void write_beside(Session& session) {
  session.write(0, kSectorBytes);
  session.write(2 * session.cluster() + kSectorBytes, session.cluster());
}

void freeze(Session& session) {
  if (!session.is_live()) {
    session.freeze_snapshot("frozen");
  }
}

void publish(Session& session) {
  freeze(session);
  write_beside(session);
  session.publish_snapshot();
  session.write(session.cluster(), kSectorBytes);
  session.finish();
}

void cancel(Session& session) {
  freeze(session);
  write_beside(session);
  end_live(session);
}

void create(Session& session) {
  end_live(session);
  session.create_snapshot("created");
}

void create_full(Session& session) {
  end_live(session);
  session.create_full_snapshot("full", session.cluster() + 3 * kSectorBytes);
}

void apply(Session& session) {
  end_live(session);
  session.apply_snapshot(0);
}

void apply_beside(Session& session) {
  end_live(session);
  session.start_apply(1);
  session.write(0, kSectorBytes);
  session.flush();
  session.finish();
}

void remove(Session& session) {
  end_live(session);
  session.delete_snapshot(0);
}

void remove_beside(Session& session) {
  end_live(session);
  session.start_delete(session.snapshots() - 1);
  session.write(0, kSectorBytes);
  session.discard(session.cluster(), session.cluster());
  session.finish();
}

void remove_in_turn(Session& session) {
  end_live(session);
  session.start_apply(1);
  session.delete_snapshot_in_turn(0);
  session.finish();
}

void rename(Session& session) {
  end_live(session);
  session.rename_snapshot(0, "a name much longer than the one before it");
}

bool has_snapshots(const GeometryCase& geometry) {
  return geometry.can_snapshot();
}
bool can_compress(const GeometryCase& geometry) {
  return geometry.can_compress();
}
bool has_lazy_counts(const GeometryCase& geometry) {
  return geometry.create.version >= 3;
}

std::vector<Letter> requests() {
  using S = Session&;
  return {
      {"WriteCluster", [](S s) { s.write(s.at(6), s.cluster()); }},
      {"WritePart", [](S s) { s.write(s.part(), kSectorBytes); }},
      {"WriteAcross", [](S s) { s.write(s.cluster() - kSectorBytes, 2 * kSectorBytes); }},
      {"WriteBothEnds",
       [](S s) {
         s.write(0, kSectorBytes);
         s.write(s.size() - 3 * kSectorBytes, 2 * kSectorBytes);
       }},
      {"WriteTwoAndFlush",
       [](S s) {
         const std::uint64_t first = s.cluster();
         s.write_two_and_flush(first,
                               first + std::max(s.cluster(), 2 * kSectorBytes) - kSectorBytes);
       }},
      {"WriteCompressed", [](S s) { s.write_compressed(1); }, can_compress},
      {"WriteCompressedPair",
       [](S s) {
         s.write_compressed(3);
         s.write_compressed(6);
       },
       can_compress},
      {"WriteZeroes", [](S s) { s.write_zeroes(0, s.cluster(), false); }},
      {"WriteZeroesUnmap", [](S s) { s.write_zeroes(s.cluster(), s.cluster(), true); }},
      {"WriteZeroesPart", [](S s) { s.write_zeroes(2 * s.cluster(), kSectorBytes, false); }},
      {"Discard", [](S s) { s.discard(0, 2 * s.cluster()); }},
      {"DiscardTail", [](S s) { s.discard(2 * s.cluster(), s.size() - 2 * s.cluster()); }},
      {"Flush", [](S s) { s.flush(); }},
      {"Grow", [](S s) { s.grow(s.cluster() + kSectorBytes); }},
  };
}

std::vector<Letter> openings() {
  using S = Session&;
  return {
      {"Reopen",
       [](S s) {
         end_live(s);
         s.reopen({}, false);
       }},
      {"ReopenUnmapping",
       [](S s) {
         end_live(s);
         s.reopen({.discard = DiscardMode::unmap}, false);
       }},
      {"KilledAndReopened",
       [](S s) {
         end_live(s);
         s.reopen({}, true);
       }},
      {"LazySwitched",
       [](S s) {
         end_live(s);
         s.reopen({.switches_lazy = true}, false);
       },
       has_lazy_counts},
      {"FlushFails",
       [](S s) {
         end_live(s);
         s.fail_flush();
       }},
      {"Repair",
       [](S s) {
         end_live(s);
         s.repair_all();
       }},
  };
}

std::vector<Letter> snapshot_operations() {
  return {
      {"SnapshotCreate", create, has_snapshots, true},
      {"SnapshotCreateFull", create_full, has_snapshots, true},
      {"SnapshotFreeze", freeze, has_snapshots, true},
      {"SnapshotPublish", publish, has_snapshots, true},
      {"SnapshotCancel", cancel, has_snapshots, true},
      {"SnapshotApply", apply, has_snapshots, true},
      {"SnapshotApplyLive", apply_beside, has_snapshots, true},
      {"SnapshotDelete", remove, has_snapshots, true},
      {"SnapshotDeleteLive", remove_beside, has_snapshots, true},
      {"SnapshotDeleteInTurn", remove_in_turn, has_snapshots, true},
      {"SnapshotRename", rename, has_snapshots, true},
  };
}

std::vector<Letter> make_alphabet() {
  std::vector<Letter> letters = requests();
  for (const auto& more : {openings(), snapshot_operations()}) {
    letters.insert(letters.end(), more.begin(), more.end());
  }
  return letters;
}

}  // namespace

const std::vector<Letter>& alphabet() {
  static const std::vector<Letter> letters = make_alphabet();
  return letters;
}

std::string name_of(const Sequence& sequence) {
  std::string name;
  for (const std::size_t letter : sequence) {
    name += (name.empty() ? "" : ", ") + std::string(alphabet()[letter].name);
  }
  return name;
}

void prepare_for_sequences(Session& session) {
  const std::uint64_t cluster = session.cluster();
  const bool can_snapshot = session.geometry().can_snapshot();
  session.write(0, 2 * cluster);
  if (session.geometry().can_compress()) {
    session.write_compressed(4);
  } else {
    session.write(session.at(4), cluster);
  }
  if (can_snapshot) {
    session.create_snapshot("first");
  }
  session.write(session.part(), 2 * cluster);
  if (can_snapshot) {
    session.create_snapshot("second");
  }
  session.write(cluster, 2 * cluster);
  session.write_zeroes(session.at(5), cluster, false);
  session.flush();
}

Scenario scenario_of(const Sequence& sequence, const GeometryCase& geometry) {
  Scenario scenario;
  scenario.name = name_of(sequence);
  scenario.prepare = &prepare_for_sequences;
  scenario.act = [sequence](Session& session) {
    for (const std::size_t letter : sequence) {
      session.begin_step();
      alphabet()[letter].act(session);
      if (session.failure()) {
        break;
      }
    }
    end_live(session);
  };
  for (const std::size_t letter : sequence) {
    scenario.control = scenario.control || alphabet()[letter].is_control;
  }
  scenario.control = scenario.control && geometry.create.version < 3;
  return scenario;
}

SequenceOrder::SequenceOrder(const GeometryCase& geometry, std::uint64_t seed) {
  for (std::size_t i = 0; i < alphabet().size(); ++i) {
    if (alphabet()[i].fits == nullptr || alphabet()[i].fits(geometry)) {
      letters_.push_back(i);
    }
  }
  sim::Random random(seed);
  beginnings_.emplace_back();
  std::vector<Sequence> longer;
  const auto add_longer = [&] {
    while (!longer.empty()) {
      std::swap(random.pick(longer), longer.back());
      beginnings_.push_back(std::move(longer.back()));
      longer.pop_back();
    }
  };
  for (const std::size_t one : letters_) {
    longer.push_back({one});
  }
  add_longer();
  for (const std::size_t one : letters_) {
    for (const std::size_t two : letters_) {
      longer.push_back({one, two});
    }
  }
  add_longer();
}

Sequence SequenceOrder::sequence(std::size_t round, std::size_t letter) const {
  Sequence sequence = beginnings_[round];
  sequence.push_back(letter);
  return sequence;
}

}  // namespace varve::model
