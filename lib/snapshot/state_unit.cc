#include "snapshot/state_unit.h"

#include <new>

#include "base/failure.h"
#include "base/try.h"

namespace varve {

void StateStore::Unit::assign(std::uint64_t index) noexcept {
  index_ = index;
  covered_ = 0;
  last_use_ = ++store_->clock_;
  zero_bytes(buffer_.bytes());
  load();
}

// Reads back what stands in the file already.
void StateStore::Unit::load() noexcept {
  state_ = State::ready;
  Result<void> collected;
  try {
    collected = collect(false);
  } catch (const std::bad_alloc&) {
    collected = failure(ErrorCode::no_memory, "cannot read the state back");
  }
  if (!collected) {
    batch_.clear();
    done(State::empty, collected);
  } else if (!batch_.empty()) {
    state_ = State::loading;
    batch_.start(*this);
  }
}

void StateStore::Unit::put(std::uint64_t offset, ConstBytes source) noexcept {
  copy_bytes(buffer_.bytes().subspan(offset, source.size()), source);
  covered_ = offset == covered_ ? covered_ + source.size() : covered_;
  last_use_ = ++store_->clock_;
  is_dirty_ = true;
}

void StateStore::Unit::write() noexcept {
  state_ = State::claiming;
  is_dirty_ = false;
  covered_ = 0;
  next_cluster_ = 0;
  claim_and_write();
}

void StateStore::Unit::sum_up() {
  if (store_->is_summing_) {
    return;
  }
  const std::uint64_t chunks = buffer_.size() / kStateChunkBytes;
  std::vector<Hash128>& sums = store_->sums_;
  if (sums.size() < (index_ + 1) * chunks) {
    sums.resize((index_ + 1) * chunks);
  }
  for (std::uint64_t i = 0; i < chunks; ++i) {
    sums[index_ * chunks + i] =
        StateLayout::sum_of(buffer_.bytes().subspan(i * kStateChunkBytes, kStateChunkBytes));
  }
}

bool StateStore::Unit::needs_cluster(std::uint64_t cluster) const noexcept {
  const Metadata& metadata = *store_->metadata_;
  const std::uint64_t cluster_bytes = metadata.geometry.cluster_bytes();
  // Version 2 has no entry that says "zeros".
  return store_->host_at(index_ * store_->unit_clusters_ + cluster) == 0 &&
         ((store_->has_backing_ && metadata.header.version < 3) ||
          !is_all_zero(buffer_.bytes().subspan(cluster * cluster_bytes, cluster_bytes)));
}

Answer<Nothing> StateStore::Unit::claim() {
  Metadata& metadata = *store_->metadata_;
  if (metadata.commit.is_poisoned()) {
    return failure(ErrorCode::poisoned, "an earlier flush failed; reopen the image");
  }
  store_->make_room(index_ * store_->unit_bytes_, (index_ + 1) * store_->unit_bytes_);
  const std::uint64_t first = index_ * store_->unit_clusters_;
  while (next_cluster_ < store_->unit_clusters_) {
    std::uint64_t wanted = 0;
    while (next_cluster_ + wanted < store_->unit_clusters_ &&
           needs_cluster(next_cluster_ + wanted)) {
      ++wanted;
    }
    if (wanted == 0) {
      ++next_cluster_;
      continue;
    }
    const Claim claim = VARVE_ASK(metadata.store.claim(wanted));
    for (std::uint64_t i = 0; i < claim.run.count; ++i) {
      const HostCluster host(claim.run.first.value() + i);
      store_->host_at(first + next_cluster_ + i) = host.value();
      if (metadata.l2.holds(metadata.geometry.offset_of(host))) {
        return corrupt_at(Corruption::refcount_zero_in_use, IoTag::refcount_block,
                          metadata.geometry.offset_of(host).value(),
                          "an L2 table in use has refcount 0");
      }
    }
    next_cluster_ += claim.run.count;
  }
  return Nothing();
}

// Collects the clusters that exist, neighbours together.
Result<void> StateStore::Unit::collect(bool is_write) {
  Metadata& metadata = *store_->metadata_;
  store_->make_room(index_ * store_->unit_bytes_, (index_ + 1) * store_->unit_bytes_);
  const std::uint64_t first = index_ * store_->unit_clusters_;
  for (std::uint64_t at = 0; at < store_->unit_clusters_;) {
    const std::uint64_t host = store_->host_at(first + at);
    std::uint64_t count = 1;
    while (host != 0 && at + count < store_->unit_clusters_ &&
           store_->host_at(first + at + count) == host + count) {
      ++count;
    }
    const HostOffset offset = metadata.geometry.offset_of(HostCluster(host));
    if (host != 0 && is_write) {
      VARVE_TRY(batch_.write(*metadata.file, IoTag::state, offset, bytes_of(at, count)));
    } else if (host != 0) {
      VARVE_TRY(batch_.read(*metadata.file, IoTag::state, offset, bytes_of(at, count)));
    }
    at += count;
  }
  return {};
}

void StateStore::Unit::claim_and_write() noexcept {
  try {
    const Answer<Nothing> claimed = claim();
    if (const Need* need = claimed.need()) {
      store_->metadata_->satisfy(*need, *this);
      return;
    }
    if (const Error* error = claimed.error()) {
      done(State::ready, *error);
      return;
    }
    sum_up();
    if (const Result<void> collected = collect(true); !collected) {
      batch_.clear();
      done(State::ready, collected);
      return;
    }
  } catch (const std::bad_alloc&) {
    batch_.clear();
    done(State::ready, failure(ErrorCode::no_memory, "cannot map the state"));
    return;
  }
  if (batch_.empty()) {
    done(State::ready, {});
    return;
  }
  state_ = State::writing;
  batch_.start(*this);
}

void StateStore::Unit::resume(const Result<void>& result) noexcept {
  switch (state_) {
    case State::claiming:
      if (result) {
        claim_and_write();
      } else {
        done(State::ready, result);
      }
      break;
    case State::loading:
      done(result ? State::ready : State::empty, result);
      break;
    default:
      store_->metadata_->commit.note_unsynced(false);
      done(State::ready, result);
      break;
  }
  store_->pump();
}

void StateStore::Unit::done(State state, const Result<void>& result) noexcept {
  state_ = state;
  if (!result) {
    store_->fail(result.error());
  }
}

}  // namespace varve
