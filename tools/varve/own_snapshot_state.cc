// varve snapshot read-state, and the state of snapshot create --full.

#include <vector>

#include <varve/snapshot.h>

#include "own_snapshot.h"
#include "stream_file.h"

namespace varve::tool {

namespace {

constexpr std::size_t kBlockBytes = 1 << 20;

// The whole of `source` in pieces to `take`.
template <class Read, class Take>
Result<void> pass_on(Read&& read, Take&& take) {
  std::vector<std::byte> block(kBlockBytes);
  while (true) {
    const Result<std::size_t> length = read(std::span<std::byte>(block));
    if (!length) {
      return length.error();
    }
    if (*length == 0) {
      return {};
    }
    const Result<void> taken = take(std::span<const std::byte>(block.data(), *length));
    if (!taken) {
      return taken;
    }
  }
}

}  // namespace

std::unique_ptr<StateWriter> load_state(Context& context, const OpenedImage& opened,
                                        const std::string& file) {
  StreamFile source(context, file, false);
  if (!source.is_open()) {
    return nullptr;
  }
  Result<std::unique_ptr<StateWriter>> writer = StateWriter::create(*opened.image);
  Result<void> done = writer ? Result<void>() : Result<void>(writer.error());
  if (done) {
    done = pass_on([&](auto target) { return source.read(target); },
                   [&](auto bytes) { return (*writer)->write(bytes); });
  }
  if (done) {
    done = (*writer)->finish();
  }
  if (!done) {
    fail_own(context, opened, "cannot store the state", done.error());
    return nullptr;
  }
  return std::move(*writer);
}

int run_read_state(Context& context, const std::string& image, const std::string& name) {
  std::optional<OpenedImage> opened = open_own(context, image, false);
  if (!opened) {
    return 1;
  }
  const std::optional<std::size_t> index = find_own(context, *opened, name);
  if (!index) {
    return 1;
  }
  Result<std::unique_ptr<StateReader>> reader = StateReader::open(*opened->image, *index);
  if (!reader) {
    return fail_own(context, *opened, "cannot read the state", reader.error());
  }
  if ((*reader)->size() == 0) {
    context.error("{}: snapshot '{}' holds no machine state", opened->filename, name);
    return 1;
  }
  StreamFile sink(context, "-", true);
  Result<void> done = pass_on([&](auto target) { return (*reader)->read(target); },
                              [&](auto bytes) { return sink.write(bytes); });
  done = done ? sink.finish() : done;
  if (!done) {
    return fail_own(context, *opened, "cannot read the state", done.error());
  }
  reader->reset();
  return close_image(context, *opened) ? 0 : 1;
}

}  // namespace varve::tool
