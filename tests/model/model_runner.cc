#include "model/model_runner.h"

#include <algorithm>

#include "base/checked.h"
#include "base/units.h"
#include "model/lab.h"

namespace varve::model {

namespace {
constexpr std::size_t kLogLines = 60;
constexpr unsigned kVectorsMax = 3;
constexpr unsigned kControlPerMille = 6;
constexpr std::uint64_t kRacingClusters = 4;
// How many times its requests a run may take until it has its publications.
constexpr std::uint64_t kLongerForAPublication = 20;
}  // namespace

ModelOptions make_model_case(const char* name, std::uint32_t cluster_bytes,
                             std::uint64_t size_bytes, StorageKind storage, unsigned depth,
                             std::uint64_t request_bytes_max) {
  ModelOptions options;
  options.name = name;
  options.geometry = make_geometry(name, cluster_bytes, size_bytes);
  options.storage = storage;
  options.depth = depth;
  options.request_bytes_max = std::max<std::uint64_t>(request_bytes_max, 2 * cluster_bytes);
  return options;
}

ModelOptions with_environment(ModelOptions options) {
  options.seed =
      sim::Random::mix(sim::seed_from_environment() ^ std::hash<std::string>{}(options.name));
  options.depth =
      static_cast<unsigned>(sim::environment_number("VARVE_MODEL_DEPTH", options.depth));
  return options;
}

ModelRunner::ModelRunner(const ModelOptions& options)
    : options_(options), random_(options.seed), model_(options.geometry.create.size_bytes) {
  if (!is_simulated(options.storage)) {
    model_.allow_torn_reads();
  }
  if (options_.size_max == 0) {
    options_.size_max = 2 * options_.geometry.create.size_bytes;
  }
  for (unsigned i = 0; i < options_.depth; ++i) {
    slots_.push_back(std::make_unique<Slot>());
    slots_.back()->runner = this;
  }
}

ModelRunner::~ModelRunner() = default;

void ModelRunner::log(const std::string& line) {
  log_.push_back(line);
  if (log_.size() > kLogLines) {
    log_.pop_front();
  }
}

void ModelRunner::fail(const std::string& what) {
  if (failure_.empty()) {
    failure_ = what;
    log("FAILED: " + what);
  }
}

bool ModelRunner::must(const std::string& what, const Result<void>& result) {
  log(what);
  if (!result) {
    fail(what + ": " + describe(result.error()));
  }
  return result.has_value();
}

std::optional<std::string> ModelRunner::run() {
  start();
  if (unsupported_) {
    return std::nullopt;
  }
  // Threads take turns as the machine likes: that few requests may pass before anything is
  // published.
  const std::uint64_t most = options_.operations * kLongerForAPublication;
  while (failure_.empty() && (submitted_ < options_.operations ||
                              (published_ < options_.publications && submitted_ < most))) {
    step();
    look_at_order();
  }
  drain();
  finish_operations();
  if (failure_.empty()) {
    compare_all();
  }
  if (image_ != nullptr && failure_.empty()) {
    close();
  }
  look_at_order();
  if (failure_.empty()) {
    check_closed();
  }
  if (failure_.empty() && options_.ask_qemu) {
    ask_qemu();
  }
  if (failure_.empty()) {
    return std::nullopt;
  }
  std::string text = failure_ + "\nthe last operations:\n";
  for (const std::string& line : log_) {
    text += "  " + line + "\n";
  }
  return text;
}

void ModelRunner::look_at_order() {
  if (const std::string violation = host_->violation(); !violation.empty()) {
    fail(violation);
  }
}

void ModelRunner::start() {
  auto host = make_host(options_.storage, options_.geometry, options_.seed);
  if (!host) {
    unsupported_ = host.error().code == ErrorCode::unsupported;
    fail("host: " + describe(host.error()));
    return;
  }
  host_ = std::move(*host);
  const Result<void> created = host_->create();
  if (!created && created.error().code == ErrorCode::unsupported &&
      options_.storage == StorageKind::direct_file) {
    unsupported_ = true;
    return;
  }
  if (must("create", created)) {
    model_.set(0, std::min(options_.geometry.backing_bytes, model_.size()), Lab::kBackingStamp);
    open();
  }
}

void ModelRunner::step() {
  if (options_.live) {
    live_step();
  }
  if (random_.below(1000) < kControlPerMille) {
    drain();
    if (failure_.empty()) {
      control();
    }
    return;
  }
  const auto idle =
      std::find_if(slots_.begin(), slots_.end(), [](const auto& slot) { return !slot->busy; });
  if (idle == slots_.end() || (in_flight_ > 0 && random_.chance(20))) {
    host_->engine().wait();
    return;
  }
  make_request(**idle);
  submit(**idle);
}

void ModelRunner::submit(Slot& slot) {
  slot.request.owner = &slot;
  slot.request.complete = &ModelRunner::completed;
  slot.busy = true;
  slot.text = "#" + std::to_string(++submitted_) + " " + slot.text;
  ++in_flight_;
  log(slot.text);
  const bool on_snapshot = slot.model != nullptr && slot.model != &model_;
  (on_snapshot ? *reader_ : *image_).submit(slot.request);
  if (!slot.busy) {
    fail("a request completed inside submit: " + slot.text);
  }
}

void ModelRunner::completed(BlockRequest& request, const Result<void>& result) {
  Slot& slot = *static_cast<Slot*>(request.owner);
  slot.runner->finish(slot, result);
}

void ModelRunner::finish(Slot& slot, const Result<void>& result) {
  slot.busy = false;
  --in_flight_;
  log("done " + slot.text);
  if (slot.refusal) {
    if (result || result.error().code != *slot.refusal) {
      fail(slot.text + ": not refused after the disk was switched");
    }
    return;
  }
  if (!result) {
    fail(slot.text + ": " + describe(result.error()));
  }
  if (slot.is_read) {
    if (!result) {
      slot.model->abandon_read(slot.read);
    } else if (const auto wrong = slot.model->end_read(slot.read, slot.buffer)) {
      fail(slot.text + ": " + *wrong);
    }
  }
  for (const auto& [id, certainty] : slot.changes) {
    slot.model->end_change(id, result ? certainty : Certainty::maybe);
  }
  // Behind the gate of a growth requests are made as well.
  if (is_growing_ && failure_.empty() && random_.chance(50)) {
    make_request(slot);
    submit(slot);
  }
}

void ModelRunner::drain() {
  while (in_flight_ > 0) {
    host_->engine().wait();
  }
}

// Whole clusters and subclusters, and pieces of them, of a few clusters.
std::pair<std::uint64_t, std::uint64_t> ModelRunner::pick_racing_range(std::uint64_t size) {
  const std::uint64_t cluster = options_.geometry.cluster_bytes();
  const std::uint64_t subcluster = cluster / 32;
  const std::uint64_t units[] = {1, kSectorBytes, subcluster, subcluster, 4 * subcluster, cluster};
  const std::uint64_t unit = units[random_.below(std::size(units))];
  const std::uint64_t offset =
      random_.below(std::min(size, kRacingClusters * cluster)) / unit * unit;
  const std::uint64_t most = random_.chance(85) ? 2 * subcluster : 2 * cluster;
  const std::uint64_t length = round_up(random_.between(1, most), unit == 1 ? 1 : unit);
  return {offset, std::min(length, size - offset)};
}

std::pair<std::uint64_t, std::uint64_t> ModelRunner::pick_range(std::uint64_t size) {
  if (options_.races) {
    return pick_racing_range(size);
  }
  const std::uint64_t cluster = options_.geometry.cluster_bytes();
  const std::uint64_t units[] = {1, kSectorBytes, kSectorBytes, 4096, cluster, cluster};
  const std::uint64_t unit = units[random_.below(std::size(units))];
  // Half of the requests meet in a small part of the disk.
  const std::uint64_t span = random_.chance(50) ? std::min(size, 8 * cluster) : size;
  std::uint64_t offset = random_.below(span) / unit * unit;
  const std::uint64_t longest = random_.chance(80)
                                    ? std::min(options_.request_bytes_max, 2 * cluster)
                                    : options_.request_bytes_max;
  std::uint64_t length = round_up(random_.between(1, longest), unit == 1 ? 1 : kSectorBytes);
  if (unit == cluster && random_.chance(60)) {
    length = std::max(cluster, length / cluster * cluster);
  }
  if (random_.chance(5)) {  // The end of the disk is a place of its own.
    offset = size - std::min(size, length);
  }
  offset = std::min(offset, size - 1);
  return {offset, std::min(length, size - offset)};
}

void ModelRunner::set_buffer(Slot& slot, std::uint64_t length) {
  slot.buffer.resize(static_cast<std::size_t>(length));
  slot.vectors.clear();
  std::size_t at = 0;
  for (unsigned i = 0; i + 1 < kVectorsMax && at < slot.buffer.size() && random_.chance(25); ++i) {
    const auto piece = static_cast<std::size_t>(random_.between(1, slot.buffer.size() - at));
    slot.vectors.push_back({slot.buffer.data() + at, piece});
    at += piece;
  }
  if (at < slot.buffer.size()) {
    slot.vectors.push_back({slot.buffer.data() + at, slot.buffer.size() - at});
  }
  slot.request.length = length;
  slot.request.vectors = slot.vectors.data();
  slot.request.vector_count = static_cast<std::uint32_t>(slot.vectors.size());
}

void ModelRunner::make_request(Slot& slot) {
  slot.request = BlockRequest{};
  slot.changes.clear();
  slot.is_read = false;
  slot.stamp = kZeroStamp;
  slot.refusal.reset();
  slot.model = &model_;
  if (options_.races && !is_growing_) {
    make_racing_request(slot);
    return;
  }
  // While the disk grows only what means the same on either.
  const std::uint64_t kind = random_.below(is_growing_ ? 75 : 100);
  if (kind < 35) {
    const bool on_snapshot = reader_ != nullptr && random_.chance(30);
    make_read(slot, on_snapshot ? reader_snapshot_->model : model_);
  } else if (kind < 75) {
    make_write(slot);
  } else if (kind < 82) {
    make_zero(slot);
  } else if (kind < 90) {
    make_discard(slot);
  } else if (kind < 95 && options_.compressed) {
    make_compressed(slot);
  } else {
    slot.text = "flush";
    slot.request.operation = BlockOperation::flush;
  }
}

void ModelRunner::make_racing_request(Slot& slot) {
  const std::uint64_t kind = random_.below(100);
  if (kind < 20) {
    make_read(slot, model_);
  } else if (kind < 46) {
    make_write(slot);
  } else if (kind < 70) {
    make_zero(slot);
  } else if (kind < 94) {
    make_discard(slot);
  } else if (kind < 97 && options_.compressed) {
    make_compressed(slot);
  } else {
    slot.text = "flush";
    slot.request.operation = BlockOperation::flush;
  }
}

void ModelRunner::make_read(Slot& slot, DiskModel& model) {
  const auto [offset, length] = pick_range(model.size());
  slot.text = (&model == &model_ ? "read " : "read of the snapshot ") + std::to_string(offset) +
              "+" + std::to_string(length);
  slot.request.operation = BlockOperation::read;
  slot.request.offset = offset;
  set_buffer(slot, length);
  slot.is_read = true;
  slot.model = &model;
  slot.read = model.begin_read(offset, length);
}

void ModelRunner::make_write(Slot& slot) {
  const auto [offset, length] = pick_range(model_.size());
  const Stamp stamp = slot.stamp = next_stamp_++;
  slot.text = "write " + std::to_string(offset) + "+" + std::to_string(length) + " stamp " +
              std::to_string(stamp);
  slot.request.operation = BlockOperation::write;
  slot.request.offset = offset;
  set_buffer(slot, length);
  fill_stamp(slot.buffer, stamp, offset);
  slot.changes.emplace_back(model_.begin_change(offset, length, stamp), Certainty::certain);
}

void ModelRunner::make_compressed(Slot& slot) {
  const std::uint64_t cluster = options_.geometry.cluster_bytes();
  const std::uint64_t clusters = divide_up(model_.size(), cluster);
  const std::uint64_t first = random_.below(clusters);
  const std::uint64_t count = random_.between(1, std::min<std::uint64_t>(3, clusters - first));
  const std::uint64_t offset = first * cluster;
  const std::uint64_t length = std::min(count * cluster, model_.size() - offset);
  const Stamp stamp = slot.stamp = next_stamp_++;
  slot.text = "write_compressed " + std::to_string(offset) + "+" + std::to_string(length) +
              " stamp " + std::to_string(stamp);
  slot.request.operation = BlockOperation::write_compressed;
  slot.request.offset = offset;
  set_buffer(slot, length);
  fill_stamp(slot.buffer, stamp, offset);
  slot.changes.emplace_back(model_.begin_change(offset, length, stamp), Certainty::certain);
}

void ModelRunner::make_zero(Slot& slot) {
  const auto [offset, length] = pick_range(model_.size());
  slot.request.operation = BlockOperation::write_zeroes;
  slot.request.may_unmap = random_.chance(50);
  slot.request.offset = offset;
  slot.request.length = length;
  slot.text = std::string(slot.request.may_unmap ? "write_zeroes unmap " : "write_zeroes ") +
              std::to_string(offset) + "+" + std::to_string(length);
  slot.changes.emplace_back(model_.begin_change(offset, length, kZeroStamp), Certainty::certain);
}

void ModelRunner::make_discard(Slot& slot) {
  const auto [offset, length] = pick_range(model_.size());
  slot.request.operation = BlockOperation::discard;
  slot.request.offset = offset;
  slot.request.length = length;
  slot.text = "discard " + std::to_string(offset) + "+" + std::to_string(length);
  begin_discard(slot);
}

void ModelRunner::begin_discard(Slot& slot) {
  const std::uint64_t offset = slot.request.offset;
  const std::uint64_t length = slot.request.length;
  const GeometryCase& geometry = options_.geometry;
  const std::uint64_t cluster = geometry.cluster_bytes();
  // Version 2 has no zero clusters: what the backing file would show instead is left alone.
  const std::uint64_t covered =
      geometry.create.version < 3 ? round_up(geometry.backing_bytes, cluster) : 0;
  const std::uint64_t first = std::max(covered, round_up(offset, cluster));
  // The disk's last cluster may be shorter and still counts as whole.
  const std::uint64_t last =
      offset + length == model_.size() ? model_.size() : round_down(offset + length, cluster);
  if (first < last) {
    slot.changes.emplace_back(model_.begin_change(first, last - first, kZeroStamp),
                              Certainty::certain);
  }
}

}  // namespace varve::model
