#include "model/alphabet.h"

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

void rename(Session& session) {
  end_live(session);
  session.rename_snapshot(0, "a name much longer than the one before it");
}

std::vector<Letter> make_alphabet() {
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
      {"WriteCompressed", [](S s) { s.write_compressed(1); }},
      {"WriteCompressedPair",
       [](S s) {
         s.write_compressed(3);
         s.write_compressed(6);
       }},
      {"WriteZeroes", [](S s) { s.write_zeroes(0, s.cluster(), false); }},
      {"WriteZeroesUnmap", [](S s) { s.write_zeroes(s.cluster(), s.cluster(), true); }},
      {"WriteZeroesPart", [](S s) { s.write_zeroes(2 * s.cluster(), kSectorBytes, false); }},
      {"Discard", [](S s) { s.discard(0, 2 * s.cluster()); }},
      {"DiscardTail", [](S s) { s.discard(2 * s.cluster(), s.size() - 2 * s.cluster()); }},
      {"Flush", [](S s) { s.flush(); }},
      {"Grow", [](S s) { s.grow(s.cluster() + kSectorBytes); }},
      {"Reopen",
       [](S s) {
         end_live(s);
         s.reopen(DiscardMode::ignore, false);
       }},
      {"ReopenUnmapping",
       [](S s) {
         end_live(s);
         s.reopen(DiscardMode::unmap, false);
       }},
      {"KilledAndReopened",
       [](S s) {
         end_live(s);
         s.reopen(DiscardMode::ignore, true);
       }},
      {"Repair",
       [](S s) {
         end_live(s);
         s.repair_all();
       }},
      {"SnapshotCreate", create, true, true},
      {"SnapshotCreateFull", create_full, true, true},
      {"SnapshotFreeze", freeze, true, true},
      {"SnapshotPublish", publish, true, true},
      {"SnapshotCancel", cancel, true, true},
      {"SnapshotApply", apply, true, true},
      {"SnapshotApplyLive", apply_beside, true, true},
      {"SnapshotDelete", remove, true, true},
      {"SnapshotDeleteLive", remove_beside, true, true},
      {"SnapshotRename", rename, true, true},
  };
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
  session.write_compressed(4);
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
        return;
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
    if (geometry.can_snapshot() || !alphabet()[i].needs_snapshots) {
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
