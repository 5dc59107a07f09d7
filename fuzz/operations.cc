// Using images: of sound ones everything is what a plain disk says, and closed they are whole; of
// damaged ones every answer is defined, what was just written is read, and no table is overwritten.
#include "player.h"

#ifdef VARVE_FUZZ_BROKEN_MODEL
static constexpr bool kForgetsZeroes = true;
#else
static constexpr bool kForgetsZeroes = false;
#endif

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace varve;
  using namespace varve::fuzz;
  const Recipe recipe = read_recipe(data, size);
  World world(recipe);
  if (recipe.is_sound()) {
    if (world.make()) {
      Player player(world, Judgement::sound);
      player.forgets_zeroes = kForgetsZeroes;
      player.play(recipe.making);
      player.finish();
    }
    return 0;
  }
  if (!make_image(world)) {
    return 0;
  }
  std::byte magic[4];
  std::byte found[4];
  world.disk().content.read(0, magic);
  Player player(world, Judgement::damaged);
  const std::uint64_t size_before = world.disk().content.size();
  MemoryPeak::begin();
  player.play(recipe.use);
  player.finish();
  must(peak_without_file(world, size_before) <= kTrustedMemoryMax,
       "using an image costs too much memory");
  world.disk().content.read(0, found);
  must(equal_bytes(magic, found), "the header is gone");
  return 0;
}
