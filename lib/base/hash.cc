#include "base/hash.h"

#include <algorithm>

#include <xxhash.h>

#include "base/failure.h"

namespace varve {
namespace {

Hash128 canonical(XXH128_hash_t hash) noexcept {
  XXH128_canonical_t bytes;
  XXH128_canonicalFromHash(&bytes, hash);
  Hash128 result{};
  std::copy(std::begin(bytes.digest), std::end(bytes.digest), result.begin());
  return result;
}

}  // namespace

Hash128 hash128(ConstBytes bytes, std::uint64_t seed) noexcept {
  return canonical(XXH3_128bits_withSeed(bytes.data(), bytes.size(), seed));
}

void Hasher::Free::operator()(void* state) const noexcept {
  XXH3_freeState(static_cast<XXH3_state_t*>(state));
}

Result<Hasher> Hasher::make(std::uint64_t seed) noexcept {
  XXH3_state_t* state = XXH3_createState();
  if (state == nullptr) {
    return failure(ErrorCode::no_memory, "cannot allocate a hash");
  }
  XXH3_128bits_reset_withSeed(state, seed);
  return Hasher(state);
}

void Hasher::add(ConstBytes bytes) noexcept {
  XXH3_128bits_update(static_cast<XXH3_state_t*>(state_.get()), bytes.data(), bytes.size());
}

Hash128 Hasher::digest() const noexcept {
  return canonical(XXH3_128bits_digest(static_cast<const XXH3_state_t*>(state_.get())));
}

}  // namespace varve
