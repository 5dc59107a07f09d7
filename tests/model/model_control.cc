// The second half of ModelRunner: what happens between requests, and the comparisons.
#include <algorithm>

#include <varve/check.h>
#include <varve/snapshot.h>

#include "base/checked.h"
#include "base/units.h"
#include "model/lab.h"
#include "model/model_runner.h"
#include "model/qemu_img.h"
#include "model/reference_qcow2.h"

namespace varve::model {

namespace {
constexpr std::size_t kCompareBytes = 1u << 20;
}  // namespace

void ModelRunner::control() {
  using Action = void (ModelRunner::*)();
  std::vector<Action> actions = {&ModelRunner::grow, &ModelRunner::reopen};
  if (!operations_.empty()) {
    actions.front() = &ModelRunner::grow_live;
    if (!snapshots_.empty()) {
      actions.push_back(reader_ ? &ModelRunner::close_reader : &ModelRunner::open_reader);
    }
  } else if (options_.snapshots) {
    if (snapshots_.size() < kSnapshotsMax) {
      actions.push_back(&ModelRunner::create_snapshot);
      actions.push_back(&ModelRunner::create_snapshot);
    }
    if (!snapshots_.empty()) {
      actions.push_back(&ModelRunner::apply_snapshot);
      actions.push_back(&ModelRunner::delete_snapshot);
      actions.push_back(&ModelRunner::rename_snapshot);
      actions.push_back(reader_ ? &ModelRunner::close_reader : &ModelRunner::open_reader);
    }
  }
  (this->*random_.pick(actions))();
}

void ModelRunner::create_snapshot() {
  SnapshotCreateOptions options;
  options.name = "snapshot " + std::to_string(next_name_++);
  const Result<SnapshotCreated> created = varve::create_snapshot(*image_, options);
  const bool overflow = !created && created.error().code == ErrorCode::out_of_range;
  if (overflow && options_.geometry.create.refcount_bits < 16) {
    log("create " + options.name + ": the counts are full");
    return;
  }
  if (must("create " + options.name, created ? Result<void>() : created.error())) {
    keep(options.name, model_);
  }
}

void ModelRunner::apply_snapshot() {
  const auto index = static_cast<std::size_t>(random_.below(snapshots_.size()));
  const Result<void> applied = varve::apply_snapshot(*image_, index);
  const bool overflow = !applied && applied.error().code == ErrorCode::out_of_range;
  if (overflow && options_.geometry.create.refcount_bits < 16) {
    log("apply: the counts are full");
    return;
  }
  if (must("apply " + snapshots_[index]->name, applied)) {
    model_ = snapshots_[index]->model;
    if (image_->size() != model_.size()) {
      fail("after apply the disk has " + std::to_string(image_->size()) + " bytes, not " +
           std::to_string(model_.size()));
    }
  }
}

void ModelRunner::delete_snapshot() {
  const auto index = static_cast<std::size_t>(random_.below(snapshots_.size()));
  const Result<void> deleted = varve::delete_snapshot(*image_, index);
  if (reader_ != nullptr && snapshots_[index].get() == reader_snapshot_) {
    log("delete of the open " + snapshots_[index]->name);
    if (deleted || deleted.error().code != ErrorCode::busy) {
      fail("deleting an open snapshot is not busy");
    }
    return;
  }
  if (must("delete " + snapshots_[index]->name, deleted)) {
    snapshots_.erase(snapshots_.begin() + static_cast<std::ptrdiff_t>(index));
  }
}

void ModelRunner::rename_snapshot() {
  const auto index = static_cast<std::size_t>(random_.below(snapshots_.size()));
  const std::string name = "renamed " + std::to_string(next_name_++) +
                           std::string(static_cast<std::size_t>(random_.below(40)), 'x');
  if (must("rename " + snapshots_[index]->name + " to " + name,
           varve::rename_snapshot(*image_, index, name))) {
    snapshots_[index]->name = name;
  }
}

void ModelRunner::open_reader() {
  KeptSnapshot* kept = random_.pick(snapshots_).get();
  const auto index = index_of(kept->name);
  if (!index) {
    return;
  }
  looked_at_ = kept->name;
  auto opened = open_snapshot(*image_, *index);
  looked_at_.clear();
  if (!opened && opened.error().code == ErrorCode::busy && !operations_.empty()) {
    log("open: it is being deleted");
    return;
  }
  reader_snapshot_ = kept;
  if (must("open " + reader_snapshot_->name, opened ? Result<void>() : opened.error())) {
    reader_ = std::move(*opened);
  }
}

void ModelRunner::close_reader() {
  if (reader_ != nullptr) {
    must("close the snapshot", reader_->close());
    reader_.reset();
  }
}

void ModelRunner::keep(const std::string& name, const DiskModel& model) {
  snapshots_.push_back(std::make_unique<KeptSnapshot>());
  snapshots_.back()->name = name;
  snapshots_.back()->model = model;
}

void ModelRunner::grow() {
  if (model_.size() >= options_.size_max) {
    return;
  }
  const std::uint64_t more =
      random_.between(1, (options_.size_max - model_.size()) / kSectorBytes) * kSectorBytes;
  const std::uint64_t size = random_.chance(50)
                                 ? model_.size() + std::min<std::uint64_t>(more, 16 * kSectorBytes)
                                 : model_.size() + more / 4 / kSectorBytes * kSectorBytes;
  if (must("grow to " + std::to_string(size), image_->grow(size))) {
    model_.grow(size);
  }
}

void ModelRunner::open() {
  auto image = host_->open(options_.discard);
  if (!image && image.error().code == ErrorCode::unsupported &&
      options_.storage == StorageKind::direct_file) {
    unsupported_ = true;
    return;
  }
  if (must("open", image ? Result<void>() : image.error())) {
    image_ = std::move(*image);
  }
}

void ModelRunner::close() {
  close_reader();
  is_closing_ = true;  // Ends what is under way.
  must("close", image_->close());
  collect_operations();
  is_closing_ = false;
  image_.reset();
}

void ModelRunner::reopen() {
  if (operations_.empty()) {
    compare_all();
  }
  if (failure_.empty()) {
    close();
  }
  if (failure_.empty()) {
    check_closed();
  }
  if (failure_.empty()) {
    open();
  }
  if (failure_.empty()) {
    compare_all();
  }
}

void ModelRunner::compare_disk(Image& image, const DiskModel& model, const std::string& what) {
  if (image.size() != model.size()) {
    fail(what + " has " + std::to_string(image.size()) + " bytes, not " +
         std::to_string(model.size()));
    return;
  }
  std::vector<std::byte> bytes;
  for (std::uint64_t at = 0; at < model.size() && failure_.empty(); at += bytes.size()) {
    bytes.resize(
        static_cast<std::size_t>(std::min<std::uint64_t>(kCompareBytes, model.size() - at)));
    const Result<void> read = image.read(at, bytes);
    if (!read) {
      fail("reading " + what + ": " + describe(read.error()));
    } else if (const auto wrong = model.judge(at, bytes)) {
      fail(what + ": " + *wrong);
    }
  }
}

void ModelRunner::compare_all() {
  log("compare");
  compare_disk(*image_, model_, "the disk");
  const auto list = list_snapshots(*image_);
  if (!list || list->size() != snapshots_.size()) {
    fail("the list of snapshots is wrong");
    return;
  }
  for (std::size_t i = 0; i < snapshots_.size() && failure_.empty(); ++i) {
    if ((*list)[i].name != snapshots_[i]->name) {
      fail("snapshot " + std::to_string(i) + " is called " + (*list)[i].name);
      return;
    }
    compare_snapshot(*snapshots_[i]);
  }
  if (failure_.empty()) {
    if (const auto wrong = check_image(*image_, false, false)) {
      fail(*wrong);
    }
  }
}

void ModelRunner::check_closed() {
  const sim::SparseBytes content = host_->content();
  std::string why;
  const auto image = ReferenceQcow2::open(content, why);
  if (!image) {
    fail("reference: " + why);
  } else if (image->is_dirty()) {
    fail("the dirty bit is set after close");
  } else if (const auto wrong = check_bytes(*image, false, true)) {
    fail("after close: " + *wrong);
  }
}

void ModelRunner::ask_qemu() {
  if (!has_program("qemu-img")) {
    if (programs_are_required()) {
      fail("qemu-img is required");
    }
    return;
  }
  TemporaryFolder folder;
  const std::string path = folder.file("image.qcow2");
  const std::string raw = folder.file("expected.raw");
  sim::SparseBytes backing;
  backing.write(0, backing_content(options_.geometry));
  // What the disk must hold, as the library reads it back once more.
  open();
  if (!failure_.empty()) {
    return;
  }
  compare_all();
  std::vector<std::byte> bytes(static_cast<std::size_t>(model_.size()));
  must("read it all", image_->read(0, bytes));
  close();
  sim::SparseBytes expected;
  expected.write(0, bytes);
  if (!host_->content().save(path) || !expected.save(raw) ||
      !backing.save(folder.file(kBackingName))) {
    fail("the image cannot be saved");
    return;
  }
  if (const auto wrong = qemu_check(path, true)) {
    fail(*wrong);
  }
  const CommandResult compared =
      run_command({"qemu-img", "compare", "-f", "qcow2", "-F", "raw", path, raw});
  if (compared.status != 0) {
    fail("qemu-img compare: " + compared.output);
  }
}

}  // namespace varve::model
