#include <memory>

#include <unistd.h>
#include <varve/snapshot_operation.h>

#include "load_loop.h"

namespace varve::bench {

namespace {

// A file on which writes of L2 tables succeed and are lost.
class ForgetfulStorage final : public Storage {
 public:
  ForgetfulStorage(std::unique_ptr<Storage> file, bool keep_tables) noexcept
      : file_(std::move(file)), keep_tables_(keep_tables) {}

  [[nodiscard]] const StorageCapabilities& capabilities() const noexcept override {
    return file_->capabilities();
  }
  [[nodiscard]] std::uint64_t size() const noexcept override { return file_->size(); }
  void submit(StorageRequest& request) noexcept override {
    const bool is_lost =
        !keep_tables_ && request.operation == StorageOperation::write && request.tag == IoTag::l2;
    if (is_lost) {
      engine().post(request, {});
    } else {
      file_->submit(request);
    }
  }
  [[nodiscard]] Engine& engine() const noexcept override { return file_->engine(); }
  [[nodiscard]] const char* name() const noexcept override { return file_->name(); }

 private:
  std::unique_ptr<Storage> file_;
  bool keep_tables_;
};

void end_before_publishing(SnapshotOperation& operation, void*) {
  if (operation.progress().phase == SnapshotPhase::publishing) {
    ::_exit(0);
  }
}

}  // namespace

Result<LoadReport> run_cut(Engine& engine, const LoadOptions& options) {
  FileOptions file;
  file.writable = true;
  auto storage = std::make_unique<ForgetfulStorage>(
      VARVE_TRY(open_file(engine, options.path, file)), options.keep_tables);
  OpenOptions open;
  open.writable = true;
  const std::unique_ptr<Image> image = VARVE_TRY(Image::open(std::move(storage), "", open));
  SnapshotCreateOptions create;
  create.name = options.name;
  OperationOptions how;
  how.changed = end_before_publishing;
  const auto operation = VARVE_TRY(start_create(*image, create, how));
  VARVE_TRY(operation->wait());
  return Error{.code = ErrorCode::io, .what = "the snapshot was published"};
}

}  // namespace varve::bench
