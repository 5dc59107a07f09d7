// Writes the images that inputs describe into files, for whoever looks at them with the tool:
//   write_images TARGET_FOLDER CORPUS_FOLDER...
// Image NUMBER is of the NUMBER-th input; the names of both are printed.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "player.h"

int main(int count, char** arguments) {
  using namespace varve::fuzz;
  unsigned written = 0;
  for (int i = 2; i < count; ++i) {
    for (const auto& entry : std::filesystem::directory_iterator(arguments[i])) {
      std::ifstream file(entry.path(), std::ios::binary);
      const std::vector<char> text{std::istreambuf_iterator<char>(file), {}};
      const std::vector<std::uint8_t> bytes(text.begin(), text.end());
      World world(read_recipe(bytes.data(), bytes.size()));
      const std::string name = std::to_string(written) + ".qcow2";
      if (make_image(world)) {
        must(world.disk().content.save(std::string(arguments[1]) + "/" + name), "cannot be saved");
        std::printf("%s %s\n", name.c_str(), entry.path().c_str());
        ++written;
      }
    }
  }
  return written == 0 ? 1 : 0;
}
