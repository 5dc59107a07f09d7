#include "sim/decorator_storage.h"

#include <algorithm>

#include "sim/allocation_faults.h"

namespace varve::sim {

DecoratorStorage::Forwarded& DecoratorStorage::take(StorageRequest& outer, std::uint64_t number) {
  if (free_.empty()) {
    const AllocationPause pause;
    all_.push_back(std::make_unique<Forwarded>());
    free_.reserve(all_.size());
    free_.push_back(all_.back().get());
  }
  Forwarded& copy = *free_.back();
  free_.pop_back();
  copy.request = outer;
  copy.request.internal = {};
  copy.request.owner = &copy;
  copy.request.complete = &DecoratorStorage::completed;
  copy.outer = &outer;
  copy.decorator = this;
  copy.number = number;
  return copy;
}

void DecoratorStorage::completed(StorageRequest& request, const Result<void>& result) {
  Forwarded& part = *static_cast<Forwarded*>(request.owner);
  DecoratorStorage& decorator = *part.decorator;
  part.result = result;
  // The caller's completion may submit again: what it reads must not be reused under it.
  decorator.forwarded(part);
  decorator.free_.push_back(&part);
}

void DecoratorStorage::forward_part(StorageRequest& outer, std::uint64_t from, std::uint64_t length,
                                    std::uint64_t number) {
  Forwarded& copy = take(outer, number);
  const AllocationPause pause;
  copy.vectors.clear();
  std::uint64_t skip = from;
  std::uint64_t left = length;
  for (std::uint32_t i = 0; i < outer.vector_count && left > 0; ++i) {
    const IoVector& vector = outer.vectors[i];
    const std::uint64_t skipped = std::min<std::uint64_t>(skip, vector.size);
    const std::uint64_t taken = std::min<std::uint64_t>(left, vector.size - skipped);
    if (taken > 0) {
      copy.vectors.push_back({vector.data + skipped, static_cast<std::size_t>(taken)});
    }
    skip -= skipped;
    left -= taken;
  }
  copy.request.offset = outer.offset + from;
  copy.request.vectors = copy.vectors.data();
  copy.request.vector_count = static_cast<std::uint32_t>(copy.vectors.size());
  inner_->submit(copy.request);
}

}  // namespace varve::sim
