// The alphabet of the crash explorer: operations small enough that every sequence of two or three
// of them can be put under the microscope, on an image that has two snapshots, compressed clusters
// and zeros. And the order in which the sequences are gone through.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/scenarios.h"

namespace varve::model {

struct Letter {
  const char* name = nullptr;
  void (*act)(Session& session) = nullptr;
  bool (*fits)(const GeometryCase& geometry) = nullptr;  // Null: every geometry.
  bool is_control = false;  // A version 2 image may show wrong COPIED flags afterwards.
};

[[nodiscard]] const std::vector<Letter>& alphabet();

// Letters by their places in the alphabet.
using Sequence = std::vector<std::size_t>;
[[nodiscard]] std::string name_of(const Sequence& sequence);

// What a sequence begins with, as a scenario's preparation.
void prepare_for_sequences(Session& session);
// A scenario that acts the sequence; its steps are the letters.
[[nodiscard]] Scenario scenario_of(const Sequence& sequence, const GeometryCase& geometry);

// Sequences in rounds: a round has one for each letter that fits the geometry, all of which begin
// the same. The first round has the letters alone, the next ones what follows one letter, then what
// follows two; `seed` says in which order.
class SequenceOrder {
 public:
  SequenceOrder(const GeometryCase& geometry, std::uint64_t seed);
  [[nodiscard]] std::size_t rounds() const noexcept { return beginnings_.size(); }
  [[nodiscard]] const std::vector<std::size_t>& letters() const noexcept { return letters_; }
  [[nodiscard]] Sequence sequence(std::size_t round, std::size_t letter) const;

 private:
  std::vector<std::size_t> letters_;
  std::vector<Sequence> beginnings_;
};

}  // namespace varve::model
