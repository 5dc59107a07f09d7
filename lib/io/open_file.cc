// Files become storages.
#include <algorithm>
#include <memory>
#include <new>
#include <utility>

#include <unistd.h>

#include "base/failure.h"
#include "base/try.h"
#include "io/file_facts.h"
#include "io/file_storage.h"

namespace varve {
namespace {

Result<std::unique_ptr<Storage>> make_file_storage(Engine& engine, FileFacts facts) {
  auto storage = std::make_unique<FileStorage>(engine, std::move(facts));
  VARVE_TRY(storage->attach());
  return Result<std::unique_ptr<Storage>>(std::move(storage));
}

}  // namespace

Result<std::unique_ptr<Storage>> open_file(Engine& engine, const std::string& path,
                                           const FileOptions& options) {
  return open_file_with_blocks(engine, path, options, 1);
}

Result<std::unique_ptr<Storage>> open_file_with_blocks(Engine& engine, const std::string& path,
                                                       const FileOptions& options,
                                                       std::uint32_t block_bytes) {
  try {
    FileFacts facts = VARVE_TRY(open_with_facts(path, options));
    facts.capabilities.request_alignment =
        std::max(facts.capabilities.request_alignment, block_bytes);
    return make_file_storage(engine, std::move(facts));
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot allocate a storage");
  }
}

Result<std::unique_ptr<Storage>> adopt_file(Engine& engine, int fd, const FileOptions& options) {
  try {
    FileFacts facts = VARVE_TRY(adopt_with_facts(fd, options));
    std::unique_ptr<Storage> storage = VARVE_TRY(make_file_storage(engine, std::move(facts)));
    ::close(fd);  // The storage has its own by now; both are the same open file.
    return Result<std::unique_ptr<Storage>>(std::move(storage));
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot allocate a storage");
  }
}

}  // namespace varve
