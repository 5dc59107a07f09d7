// DelayStorage: lets every request take effect, and complete, in a seeded random order. Large
// writes may take effect in two pieces at different moments, as on a real disk.
//
// It is a Source of its engine: each poll moves a few requests on, so that nothing ever hangs.
// Threads: the engine's. Lifetime: nothing may be in flight at its end.
#pragma once

#include <vector>

#include "sim/decorator_storage.h"
#include "sim/random.h"

namespace varve::sim {

class DelayStorage final : public DecoratorStorage, private Engine::Source {
 public:
  DelayStorage(std::unique_ptr<Storage> inner, std::uint64_t seed);
  ~DelayStorage() override;
  void submit(StorageRequest& request) noexcept override;

 private:
  struct Held {
    StorageRequest* request = nullptr;
    std::uint64_t pieces_waiting = 0;  // Not yet sent on.
    std::uint64_t pieces_running = 0;  // Sent on, not yet back.
    std::uint64_t split = 0;           // Where the first piece ends; 0: one piece.
    bool second_first = false;         // The later half takes effect first.
    Result<void> result;
    [[nodiscard]] bool is_done() const noexcept {
      return pieces_waiting == 0 && pieces_running == 0;
    }
  };

  std::size_t advance() noexcept override;
  void send_piece(std::size_t index);
  void forwarded(Forwarded& part) override;

  Random random_;
  std::vector<Held> held_;
};

}  // namespace varve::sim
