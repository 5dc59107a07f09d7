// What the crash explorer has visited: how many states by operation, geometry and event of the
// operation. A cell without a state is told by name. Threads: none.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "model/alphabet.h"
#include "model/crash_explorer.h"

namespace varve::model {

class Coverage {
 public:
  // One run's exploration, of which the last step is `letter`. What stands empty, or nothing.
  [[nodiscard]] std::optional<std::string> add(std::size_t letter, const std::string& geometry,
                                               const CrashRun& run,
                                               const Exploration& exploration) {
    Cell& cell = cells_[letter][geometry];
    ++cell.sequences;
    cell.all.add(exploration);
    std::optional<std::string> empty;
    std::size_t event = 0;
    for (std::size_t i = 0; i < exploration.after.size(); ++i) {
      if (run.disk().events()[i].submitted <= run.steps().back()) {
        continue;
      }
      cell.states.resize(std::max(cell.states.size(), event + 1));
      cell.states[event] += exploration.after[i];
      if (exploration.after[i] == 0 && !exploration.wrong && !empty) {
        empty = std::string(alphabet()[letter].name) + " on " + geometry + ", event " +
                std::to_string(event);
      }
      ++event;
    }
    return empty;
  }

  // The first of `letters` that was never explored on `geometry`, or nothing.
  [[nodiscard]] std::optional<std::string> missing(const std::vector<std::size_t>& letters,
                                                   const std::string& geometry) const {
    for (const std::size_t letter : letters) {
      const auto row = cells_.find(letter);
      if (row == cells_.end() || row->second.count(geometry) == 0) {
        return std::string(alphabet()[letter].name) + " on " + geometry;
      }
    }
    return std::nullopt;
  }

  void print(double cpu_seconds) const {
    Exploration all;
    std::uint64_t sequences = 0;
    std::printf("crash states by operation and geometry: sequences/events/states\n");
    for (const auto& [letter, row] : cells_) {
      std::printf("  %-20s", alphabet()[letter].name);
      for (const auto& [geometry, cell] : row) {
        std::printf("  %s %llu/%zu/%llu", geometry.c_str(), number(cell.sequences),
                    cell.states.size(), number(cell.all.distinct));
        all.add(cell.all);
        sequences += cell.sequences;
      }
      std::printf("\n");
    }
    std::printf(
        "explored: %llu distinct states of %llu sequences (%llu choices, %llu judged, %llu after a "
        "second cut), %llu shown to the library, %llu to qemu-img; %.1f s of CPU, %.0f states per "
        "second; at most %llu clusters leaked\n",
        number(all.distinct), number(sequences), number(all.visited), number(all.judged),
        number(all.second), number(all.library), number(all.qemu), cpu_seconds,
        static_cast<double>(all.distinct) / std::max(cpu_seconds, 1e-3), number(all.leaks));
  }
  [[nodiscard]] bool is_empty() const noexcept { return cells_.empty(); }

 private:
  struct Cell {
    std::uint64_t sequences = 0;
    std::vector<std::uint64_t> states;  // By the event of the operation the power went after.
    Exploration all;
  };
  static unsigned long long number(std::uint64_t value) { return value; }

  std::map<std::size_t, std::map<std::string, Cell>> cells_;
};

}  // namespace varve::model
