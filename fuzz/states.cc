#include "states.h"

#include <algorithm>

#include <varve/snapshot.h>

#include "base/bytes.h"

namespace varve::fuzz {
namespace {

// Most are written in an instant; the others need more than one sum.
constexpr std::uint64_t kSmallBytesMax = 3'000;
constexpr std::uint64_t kLargeBytesMin = 64'000;
constexpr std::uint64_t kReadBytesMax = 2 * kStateChunkBytes;

// The first and the last third; what is between them stays a hole.
Result<void> write_pieces(StateWriter& writer, ConstBytes state, bool backwards) {
  const std::size_t third = state.size() / 3;
  for (const bool is_first : {!backwards, backwards}) {
    const Result<void> written = is_first ? writer.write_at(0, state.first(third))
                                          : writer.write_at(2 * third, state.subspan(2 * third));
    if (!written) {
      return written;
    }
  }
  return writer.finish();
}

}  // namespace

std::optional<State> state_of(const Record& record) {
  if ((record.large & 1) == 0) {
    return std::nullopt;
  }
  const bool is_large = ((record.large >> 1) & 7) == 7;
  const std::uint64_t number = (record.large >> 4) % kSmallBytesMax;
  State state(static_cast<std::size_t>(is_large ? kLargeBytesMin + number : number));
  const std::size_t third = state.size() / 3;
  fill(Bytes(state).first(third), record.small);
  fill(Bytes(state).subspan(2 * third), record.small + 2u);
  return state;
}

Result<std::unique_ptr<StateWriter>> write_state(World& world, Image& image, const State& state,
                                                 bool backwards) {
  auto writer = StateWriter::create(image);
  if (!writer) {
    return writer;
  }
  if (const Result<void> written = write_pieces(**writer, state, backwards); !written) {
    return written.error();
  }
  must((*writer)->size() == state.size(), "a state of another size is written");
  world.note_state(state);
  return writer;
}

Result<FoundState> read_state(const World& world, Image& image, std::size_t index) {
  const auto reader = StateReader::open(image, index);
  if (!reader) {
    return reader.error();
  }
  FoundState found;
  found.size = (*reader)->size();
  found.is_verified = (*reader)->is_verified();
  found.bytes.resize(static_cast<std::size_t>(std::min(found.size, kReadBytesMax)));
  if (const Result<void> result = (*reader)->read_at(0, found.bytes); !result) {
    return result.error();
  }
  must(
      !found.is_verified || (found.size == found.bytes.size() && world.is_known_state(found.bytes)),
      "a state verifies that nobody wrote");
  return found;
}

}  // namespace varve::fuzz
