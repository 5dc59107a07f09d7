// An audit: the header as it is, then, where the image can be opened, everything in it.

#include <new>
#include <utility>

#include <varve/audit.h>
#include <varve/image.h>

#include "base/failure.h"
#include "base/try.h"
#include "image/qcow2_image.h"
#include "maintenance/audit_findings.h"
#include "maintenance/audit_header.h"
#include "maintenance/audit_programs.h"
#include "maintenance/audit_tables.h"

namespace varve {
namespace {

class Audit {
 public:
  explicit Audit(const AuditOptions& options)
      : options_(options), findings_(report_, options.findings_max) {}

  Result<AuditReport> run(std::unique_ptr<Storage> file) {
    if (options_.lock) {
      VARVE_TRY(file->lock(false, options_.force_share));
    }
    VARVE_TRY(look_at_header(*file));
    const Result<void> judged = look_inside(std::move(file));
    if (!judged && judged.error().code == ErrorCode::cancelled) {
      return judged.error();
    }
    if (!judged) {
      report_.stopped = judged.error();
    }
    judge_other_programs(facts_, findings_);
    findings_.sort();
    return std::move(report_);
  }

 private:
  // Does not keep the cluster.
  Result<void> look_at_header(Storage& file) {
    const AuditHeader header = VARVE_TRY(AuditHeader::read(file));
    take_facts(header, file);
    judge_features(header, findings_);
    judge_header_bytes(header, findings_);
    judge_named_files(header, findings_);
    return {};
  }

  void take_facts(const AuditHeader& header, const Storage& file) {
    report_.version = header.version;
    report_.cluster_bytes = header.cluster0.size();
    report_.virtual_size = header.raw.virtual_size.value();
    report_.file_bytes = file.size();
    facts_.extended_l2 = (header.incompatible & kIncompatibleExtendedL2) != 0;
    facts_.is_dirty = (header.incompatible & kIncompatibleDirty) != 0;
    const bool has_offset = header.raw.backing_name_offset.value() != 0;
    facts_.has_backing = !header.backing_name.empty();
    facts_.has_backing_format = header.find(kExtensionBackingFormat) != nullptr;
    facts_.is_backing_relative = facts_.has_backing && header.backing_name.front() != '/';
    facts_.is_backing_contradictory = has_offset != (header.raw.backing_name_bytes.value() != 0);
    facts_.refcount_order = header.version >= 3 ? header.raw.refcount_order.value() : 4;
    facts_.l1_entries = header.raw.l1_entries.value();
    facts_.file_bytes = file.size();
  }

  // What keeps an image from being opened is a finding, what keeps anybody from looking is not.
  Result<void> take_refusal(const Error& error) {
    if (error.code != ErrorCode::corrupt && error.code != ErrorCode::unsupported) {
      return error;
    }
    if (error.code == ErrorCode::corrupt) {
      findings_.add_broken(error);
    }
    findings_.add(AuditKind::not_judged, {error.tag, error.offset},
                  error.code == ErrorCode::corrupt
                      ? std::string("the image cannot be opened: its tables were not looked at")
                      : "the image cannot be opened, so its tables were not looked at: " +
                            std::string(error.what));
    return {};
  }

  Result<void> look_inside(std::unique_ptr<Storage> file) {
    OpenOptions open_options;
    open_options.lock = options_.lock;
    open_options.force_share = options_.force_share;
    open_options.open_backing = false;
    open_options.open_data_file = false;
    // What can be read of damaged tables is looked at.
    open_options.allow_corrupt = true;
    open_options.budget = options_.budget;
    Result<std::unique_ptr<Image>> image = Image::open(std::move(file), "", open_options);
    if (!image) {
      return take_refusal(image.error());
    }
    const Result<void> judged = judge_image(**image);
    const Result<void> closed = (*image)->close();
    return judged ? closed : judged;
  }

  Result<void> judge_image(Image& image) {
    auto* const qcow2 = dynamic_cast<Qcow2Image*>(&image.core());
    VARVE_ASSERT(qcow2 != nullptr);
    VARVE_TRY(judge_snapshots(qcow2->metadata(), facts_, findings_));
    VARVE_TRY(judge_bitmaps(image, facts_, findings_));
    return judge_tables(qcow2->metadata(), options_, findings_);
  }

  const AuditOptions& options_;
  AuditReport report_;
  AuditFindings findings_;
  AuditFacts facts_;
};

}  // namespace

Result<AuditReport> audit(std::unique_ptr<Storage> file, const AuditOptions& options) noexcept {
  try {
    return Audit(options).run(std::move(file));
  } catch (const std::bad_alloc&) {
    return failure(ErrorCode::no_memory, "cannot keep what the audit found");
  }
}

}  // namespace varve
