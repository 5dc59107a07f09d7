// The oracle: one image, everything that must be true of it.
#include <algorithm>

#include "base/checked.h"
#include "model/lab.h"
#include "model/qemu_img.h"

namespace varve::model {

namespace {

using Verdict = std::optional<std::string>;

Verdict prefixed(const char* prefix, const Verdict& verdict) {
  return verdict ? Verdict(std::string(prefix) + ": " + *verdict) : verdict;
}

class Examiner {
 public:
  Examiner(Lab& lab, const Guest& guest, const FilePair& files, sim::Moment moment,
           const Examination& examination)
      : lab_(lab), guest_(guest), files_(files), moment_(moment), examination_(examination) {}

  Verdict run() {
    const bool is_new = !examination_.is_judged || examination_.ask_qemu;
    if (Verdict verdict = prefixed("as found", is_new ? look_at_bytes() : std::nullopt)) {
      return verdict;
    }
    if (Verdict verdict = prefixed("opened read-only", look_read_only())) {
      return verdict;
    }
    return prefixed("opened for writing", use());
  }

 private:
  Verdict look_at_bytes() {
    std::string why;
    const auto image = lab_.reference(files_, why);
    if (!image) {
      return why;
    }
    const bool excuse = examination_.excuse_mismatches || image->is_dirty();
    if (Verdict verdict = check_bytes(*image, excuse, false)) {
      return verdict;
    }
    Version seen;
    if (Verdict verdict = guest_.judge(view_of(*image), moment_, &seen)) {
      return verdict;
    }
    if (image->has_trusted_bitmap() && !guest_.is_untouched(seen)) {
      return "the disk changed under a bitmap that is not marked in use";
    }
    return examination_.ask_qemu && !image->is_dirty() && !excuse
               ? ask_qemu(files_.image, files_.data)
               : std::nullopt;
  }

  Verdict ask_qemu(const sim::SparseBytes& bytes, const sim::SparseBytes& data) {
    if (!has_program("qemu-img")) {
      return programs_are_required() ? Verdict("qemu-img is required") : std::nullopt;
    }
    TemporaryFolder folder;
    const std::string path = folder.file("image.qcow2");
    const bool saved = bytes.save(path) && lab_.backing().content.save(folder.file(kBackingName)) &&
                       data.save(folder.file(kDataFileName));
    const std::string data_file = lab_.geometry().has_data_file() ? folder.file(kDataFileName) : "";
    return saved ? qemu_check(path, false, data_file) : Verdict("the image cannot be saved");
  }

  Verdict look_read_only() {
    DiskPair disks(files_);
    disks.image.capabilities.read_only = disks.data.capabilities.read_only = true;
    auto image = lab_.open_disks(disks, lab_.open_options(false));
    if (!image) {
      return "refused: " + describe(image.error());
    }
    if (Verdict verdict = guest_.judge(view_of(**image), moment_)) {
      return verdict;
    }
    const Result<void> closed = (*image)->close();
    return closed ? std::nullopt : Verdict("close: " + describe(closed.error()));
  }

  Verdict use() {
    DiskPair disks(files_);
    auto image = lab_.open_disks(disks, lab_.open_options(true));
    if (!image) {
      return "refused: " + describe(image.error());
    }
    Version seen;
    if (Verdict verdict = guest_.judge(view_of(**image), moment_, &seen)) {
      return verdict;
    }
    if (Verdict verdict = check_image(**image, examination_.excuse_mismatches, false)) {
      return verdict;
    }
    sim::Moment clock = 0;
    Guest next(
        lab_.rules(), std::move(seen), [&clock] { return ++clock; }, guest_.next_stamp());
    if (examination_.go_on) {
      if (Verdict verdict =
              prefixed("in continued use", go_on_using(**image, next, examination_.may_apply))) {
        return verdict;
      }
    }
    const Result<void> closed = next.close(**image);
    if (!closed) {
      return "close: " + describe(closed.error());
    }
    image->reset();
    return prefixed("afterwards", look_after(disks, next));
  }

  Verdict look_after(const DiskPair& disks, const Guest& next) {
    std::string why;
    const auto image = lab_.reference(disks.image.content, disks.data.content, why);
    if (!image) {
      return why;
    }
    if (image->is_dirty()) {
      return "the dirty bit is set after close";
    }
    if (Verdict verdict = check_bytes(*image, examination_.excuse_mismatches, false)) {
      return verdict;
    }
    if (Verdict verdict = next.judge_now(view_of(*image))) {
      return verdict;
    }
    return examination_.ask_qemu && !examination_.excuse_mismatches
               ? ask_qemu(disks.image.content, disks.data.content)
               : std::nullopt;
  }

  Lab& lab_;
  const Guest& guest_;
  const FilePair& files_;
  sim::Moment moment_;
  const Examination& examination_;
};

}  // namespace

std::optional<std::string> go_on_using(Image& image, Guest& guest, bool may_apply) {
  Result<void> result;
  const auto good = [&](Result<void> outcome) {
    result = result ? outcome : result;
    return result.has_value();
  };
  const std::uint64_t cluster = guest.cluster_bytes();
  const std::uint64_t part = std::max<std::uint64_t>(512, cluster / 4);
  // Every cluster of a small disk, a spread of a larger one.
  constexpr std::uint64_t kWritesMax = 96;
  const std::uint64_t stride = cluster * divide_up(guest.size(), cluster * kWritesMax);
  for (std::uint64_t at = 0; at < guest.size() && result; at += stride) {
    good(guest.write(image, at, std::min(part, guest.size() - at)));
  }
  const ImageFacts facts = image.facts();
  if (result && facts.refcount_bits > 1 && facts.data_file_name.empty()) {
    const std::size_t mine = guest.now().snapshots.size();
    good(guest.create_snapshot(image, "went on"));
    good(guest.write(image, 0, std::min(2 * cluster, guest.size())));
    if (Verdict verdict = result ? guest.judge_now(view_of(image)) : std::nullopt) {
      return prefixed("after a snapshot", verdict);
    }
    if (may_apply) {
      good(result ? guest.apply_snapshot(image, mine) : result);
      if (Verdict verdict = result ? guest.judge_now(view_of(image)) : std::nullopt) {
        return prefixed("after apply", verdict);
      }
    }
    good(result ? guest.write(image, 0, std::min(part, guest.size())) : result);
    while (result && !guest.now().snapshots.empty()) {
      good(guest.delete_snapshot(image, 0));
    }
  }
  if (!result) {
    return describe(result.error());
  }
  if (Verdict verdict = guest.judge_now(view_of(image))) {
    return verdict;
  }
  return std::nullopt;
}

std::optional<std::string> examine(Lab& lab, const Guest& guest, const FilePair& files,
                                   sim::Moment moment, const Examination& examination) {
  return Examiner(lab, guest, files, moment, examination).run();
}

}  // namespace varve::model
