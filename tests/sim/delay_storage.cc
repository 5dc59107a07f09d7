#include "sim/delay_storage.h"

#include <algorithm>

namespace varve::sim {

namespace {
constexpr std::uint64_t kSector = 512;  // What a disk writes as one.
}

DelayStorage::DelayStorage(std::unique_ptr<Storage> inner, std::uint64_t seed)
    : DecoratorStorage(std::move(inner)), random_(seed) {
  engine().add_source(*this);
}

DelayStorage::~DelayStorage() {
  engine().remove_source(*this);
}

void DelayStorage::submit(StorageRequest& request) noexcept {
  Held held;
  held.request = &request;
  held.pieces_waiting = 1;
  const std::uint64_t size = request.size_bytes();
  const bool moves_bytes =
      request.operation == StorageOperation::read || request.operation == StorageOperation::write;
  if (moves_bytes && size > kSector && random_.chance(25)) {
    const std::uint64_t first_end = request.offset / kSector * kSector + kSector - request.offset;
    held.split = first_end + random_.below((size - first_end + kSector - 1) / kSector) * kSector;
    held.second_first = random_.chance(50);
    held.pieces_waiting = held.split < size ? 2 : 1;
  }
  held_.push_back(held);
}

std::size_t DelayStorage::advance() noexcept {
  std::size_t posted = 0;
  for (std::uint64_t steps = random_.between(1, 4); steps > 0 && !held_.empty(); --steps) {
    const auto index = static_cast<std::size_t>(random_.below(held_.size()));
    Held& held = held_[index];
    if (held.pieces_waiting > 0) {
      send_piece(index);
    } else if (held.is_done()) {
      const Held done = std::move(held);
      held = std::move(held_.back());
      held_.pop_back();
      engine().post(*done.request, done.result);
      ++posted;
    }
  }
  return posted;
}

void DelayStorage::send_piece(std::size_t index) {
  Held& held = held_[index];
  StorageRequest& request = *held.request;
  const bool is_second = (held.pieces_waiting == 2) == held.second_first;
  const bool is_whole = held.split == 0 || held.split >= request.size_bytes();
  --held.pieces_waiting;
  ++held.pieces_running;
  if (is_whole) {
    forward(request);
  } else if (is_second) {
    forward_part(request, held.split, request.size_bytes() - held.split);
  } else {
    forward_part(request, 0, held.split);
  }
}

void DelayStorage::forwarded(Forwarded& part) {
  for (Held& held : held_) {
    if (held.request == part.outer) {
      --held.pieces_running;
      if (!part.result) {
        held.result = part.result;
      }
      return;
    }
  }
}

}  // namespace varve::sim
