#include "model/lab.h"

#include <algorithm>

#include "base/assert.h"
#include "base/checked.h"
#include "base/failure.h"
#include "base/units.h"
#include "sim/allocation_faults.h"

namespace varve::model {

std::unique_ptr<Engine> make_test_engine() {
  EngineOptions options;
  options.backend = AioBackend::threads;
  options.threads = 1;
  auto engine = Engine::create(options);
  VARVE_ASSERT(engine.has_value());
  return std::move(*engine);
}

Lab::Lab(const GeometryCase& geometry) : geometry_(geometry), engine_(make_test_engine()) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(geometry.backing_bytes));
  fill_stamp(bytes, kBackingStamp, 0);
  backing_.content.write(0, bytes);
}

GuestRules Lab::rules() const noexcept {
  GuestRules rules;
  rules.cluster_bytes = geometry_.cluster_bytes();
  rules.discard_from = geometry_.create.version < 3 ? geometry_.backing_bytes : 0;
  return rules;
}

Version Lab::initial_version() const {
  Version version;
  version.disk.size = geometry_.create.size_bytes;
  for (std::uint64_t at = 0; at < version.disk.size; at += kSectorBytes) {
    version.disk.sectors.emplace_back(at < geometry_.backing_bytes ? kBackingStamp : kZeroStamp);
  }
  return version;
}

OpenOptions Lab::open_options(bool writable, DiscardMode discard) noexcept {
  OpenOptions options;
  options.writable = writable;
  options.discard = discard;
  options.opener = this;
  if (geometry_.tiny_caches) {
    options.l2_cache_bytes = 1;
    options.refcount_cache_bytes = 1;
  }
  return options;
}

Result<std::unique_ptr<Storage>> Lab::open(Engine& engine, const std::string& name,
                                           const FileOptions& options) {
  const sim::AllocationPause pause;
  if (name.ends_with(kDataFileName) && data_file_ != nullptr) {
    return std::move(data_file_);
  }
  if (options.writable || !name.ends_with(kBackingName)) {
    return failure(ErrorCode::not_found, "the lab has no such file, or none to be written");
  }
  return std::unique_ptr<Storage>(std::make_unique<sim::SimStorage>(engine, backing_));
}

Result<std::unique_ptr<Image>> Lab::open(std::unique_ptr<Storage> storage,
                                         const OpenOptions& options,
                                         std::unique_ptr<Storage> data) {
  data_file_ = geometry_.has_data_file() ? std::move(data) : nullptr;
  auto image = Image::open(std::move(storage), "/lab", options);
  data_file_.reset();
  return image;
}

std::optional<ReferenceQcow2> Lab::reference(const sim::SparseBytes& file,
                                             const sim::SparseBytes& data, std::string& why) const {
  auto image = reference(file, why);
  if (image && geometry_.has_data_file()) {
    image->set_data_file(
        [&data](std::uint64_t offset, Bytes target) { data.read(offset, target); });
  }
  return image;
}

std::optional<ReferenceQcow2> Lab::reference(const sim::SparseBytes& file, std::string& why) const {
  auto image = ReferenceQcow2::open(file, why);
  if (image && geometry_.backing_bytes > 0) {
    image->set_backing(
        [this](std::uint64_t offset, Bytes target) { backing_.content.read(offset, target); });
  }
  return image;
}

Guest::View view_of(const ReferenceQcow2& image) {
  Guest::View view;
  view.size = image.virtual_size();
  for (const ReferenceSnapshot& snapshot : image.snapshots()) {
    view.snapshot_names.push_back(snapshot.name);
  }
  view.read = [&image](std::uint64_t offset, Bytes target, std::string& why) {
    return image.read(offset, target, why);
  };
  view.read_snapshot = [&image](std::size_t index, Bytes target, std::string& why) {
    if (image.snapshots()[index].disk_size != target.size()) {
      why = "its size is " + std::to_string(image.snapshots()[index].disk_size);
      return false;
    }
    return image.read_snapshot(index, 0, target, why);
  };
  view.read_state = [&image](std::size_t index, Bytes target, std::string& why) {
    return image.read_snapshot(index, image.state_begin(image.snapshots()[index]), target, why);
  };
  return view;
}

bool plant_canaries(FilePair& files, std::uint64_t more, std::string& why) {
  sim::SparseBytes& file = files.image;
  const auto image = ReferenceQcow2::open(file, why);
  if (!image) {
    return false;
  }
  const std::uint64_t cluster_bytes = image->cluster_bytes();
  const std::uint64_t clusters = divide_up(file.size(), cluster_bytes);
  std::vector<std::byte> bytes(static_cast<std::size_t>(cluster_bytes));
  for (std::uint64_t cluster = 0; cluster < clusters + more; ++cluster) {
    if (image->refcount(cluster) == 0) {
      fill_stamp(bytes, Lab::kCanaryStamp, cluster * cluster_bytes);
      file.write(cluster * cluster_bytes, bytes);
    }
  }
  for (std::uint64_t at = 0;
       at < image->virtual_size() && image->has_data_file() && !image->is_data_file_raw();
       at += cluster_bytes) {
    if (image->source_at(at).kind != ReferenceQcow2::Source::Kind::data_file) {
      fill_stamp(bytes, Lab::kCanaryStamp, at);
      files.data.write(at, bytes);
    }
  }
  return true;
}

std::optional<std::string> check_image(Image& image, bool excuse_mismatches, bool leaks_too) {
  const Result<CheckReport> report = check(image);
  if (!report) {
    return "check failed: " + describe(report.error());
  }
  std::uint64_t bad = report->failures + (leaks_too ? report->leaks : 0);
  std::string text;
  for (const Finding& finding : report->findings) {
    const bool excused = (finding.severity == Severity::leak && !leaks_too) ||
                         (finding.severity == Severity::mismatch && excuse_mismatches);
    if (!excused) {
      ++bad;
      text += std::string("\n  ") + corruption_name(finding.reason) + " in " +
              io_tag_name(finding.table) + " at " + std::to_string(finding.offset) +
              ", concerning " + std::to_string(finding.host_offset) + ": " +
              std::to_string(finding.found) + ", expected " + std::to_string(finding.expected);
    }
  }
  if (bad == 0 && (report->corruptions == 0 || excuse_mismatches)) {
    return std::nullopt;
  }
  return "check: " + std::to_string(report->corruptions) + " corruptions, " +
         std::to_string(report->leaks) + " leaks, " + std::to_string(report->failures) +
         " failures" + text;
}

std::optional<std::string> check_bytes(const ReferenceQcow2& image, bool excuse_mismatches,
                                       bool leaks_too) {
  const ReferenceReport report = image.check();
  if (report.corruptions.empty() && (report.mismatches.empty() || excuse_mismatches) &&
      (report.leaks == 0 || !leaks_too)) {
    return std::nullopt;
  }
  return "reference check: " + report.text();
}

}  // namespace varve::model
