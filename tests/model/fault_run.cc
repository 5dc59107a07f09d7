#include "model/fault_run.h"

#include <array>
#include <string_view>

#include "base/assert.h"
#include "base/try.h"
#include "base/units.h"
#include "image/qcow2_image.h"
#include "sim/sector_image.h"

namespace varve::model {

namespace {
// States per case that are shown to the library, and to qemu-img.
constexpr std::size_t kLibraryMax = 8;
constexpr std::uint64_t kQemuMax = 1;

const char* const kImageName = "image.qcow2";

// What nobody uses any more must have been given back: holds, requests, turns.
std::optional<std::string> what_is_held(Image& image) {
  auto* core = dynamic_cast<Qcow2Image*>(&image.core());
  VARVE_ASSERT(core != nullptr);
  Metadata& metadata = core->metadata();
  const char* held = core->has_requests()                              ? "a request"
                     : !core->holds().empty()                          ? "a cluster hold"
                     : core->is_gate_closed()                          ? "the gate"
                     : !core->control_tasks.empty()                    ? "a control operation"
                     : metadata.control.is_taken()                     ? "the control slot"
                     : metadata.are_flushes_held()                     ? "guests' flushes"
                     : core->state_writers != 0                        ? "a state writer"
                     : !core->open_snapshots.empty()                   ? "an open snapshot"
                     : core->snapshot_in_deletion.has_value()          ? "a snapshot's name"
                     : !metadata.eras.is_drained(metadata.eras.seal()) ? "an era of requests"
                                                                       : nullptr;
  return held == nullptr ? std::nullopt
                         : std::optional(std::string(held) + " is still held after the failure");
}
}  // namespace

bool FaultRun::prepare(std::string& why) {
  prepared_ = model::prepare(lab_, parameter_.scenario, why);
  return prepared_.has_value();
}

std::optional<std::string> FaultRun::run(sim::FaultPlan& plan, const AllocationFault& allocation,
                                         Counts& counts) {
  DiskPair disks(prepared_->files);
  const bool has_data_file = parameter_.geometry.has_data_file();
  if (folder_ != nullptr &&
      !(prepared_->files.image.save(folder_->file(kImageName)) &&
        (!has_data_file || prepared_->files.data.save(folder_->file(kDataFileName))))) {
    return "the files cannot be saved";
  }
  sim::Moment clock = 0;
  Guest guest(
      lab_.rules(), prepared_->version, [&clock] { return ++clock; }, prepared_->next_stamp);
  if (Verdict verdict = act(plan, disks, guest, allocation, counts)) {
    return verdict;
  }
  if (!guest.violation().empty()) {
    return guest.violation();
  }
  FilePair files{disks.image.content.clone(), disks.data.content.clone()};
  if (folder_ != nullptr) {
    auto image = load_file(folder_->file(kImageName));
    auto data = has_data_file ? load_file(folder_->file(kDataFileName)) : sim::SparseBytes();
    if (!image || !data) {
      return "the files cannot be read";
    }
    files.image = std::move(*image);
    files.data = std::move(*data);
  }
  return judge(files, guest, ++clock);
}

Result<std::unique_ptr<Storage>> FaultRun::open_storage(sim::SimDisk& disk, const char* name) {
  if (folder_ == nullptr) {
    return std::unique_ptr<Storage>(std::make_unique<sim::SimStorage>(lab_.engine(), disk));
  }
  return open_file(lab_.engine(), folder_->file(name), {.writable = true});
}

// Below the faults stands the watch: what it sees is what reaches the disk.
Result<std::unique_ptr<Image>> FaultRun::open(sim::FaultPlan& plan, DiskPair& disks,
                                              DiscardMode discard, OrderRecord& order) {
  std::unique_ptr<Storage> image = VARVE_TRY(open_storage(disks.image, kImageName));
  std::unique_ptr<Storage> data;
  if (parameter_.geometry.has_data_file()) {
    data = VARVE_TRY(open_storage(disks.data, kDataFileName));
    data = std::make_unique<sim::FaultyStorage>(std::move(data), plan);
  }
  plan.opened_again();
  if (folder_ == nullptr) {
    image = std::make_unique<OrderStorage>(std::move(image), disks.image.content, order);
  }
  image = std::make_unique<sim::FaultyStorage>(std::move(image), plan);
  const OpenOptions options = lab_.open_options(true, discard);
  return sim::within_window([&] { return lab_.open(std::move(image), options, std::move(data)); });
}

std::optional<std::string> FaultRun::act(sim::FaultPlan& plan, DiskPair& disks, Guest& guest,
                                         const AllocationFault& allocation, Counts& counts) {
  OrderRecord order;
  was_poisoned_ = was_refused_ = was_reopened_ = false;
  sim::AllocationFaults::arm(allocation.index, allocation.from_then_on);
  auto image = open(plan, disks, parameter_.scenario.discard, order);
  Verdict verdict;
  if (image) {
    Session session(**image, guest, parameter_.geometry);
    Session::Host host;
    host.reopen = [&](const Session::Host::Opening& opening) -> Result<Image*> {
      image->reset();
      was_reopened_ = true;
      if (opening.switches_lazy) {
        switch_lazy(disks);
      }
      image = open(plan, disks, opening.discard, order);
      return image ? Result<Image*>(image->get()) : image.error();
    };
    session.allow(std::move(host));
    parameter_.scenario.act(session);
    was_refused_ = session.failure().has_value();
    verdict = session.failure() ? unclear(*session.failure(), plan) : verdict;
  }
  counts.allocations = sim::AllocationFaults::disarm();
  counts.requests = plan.seen();
  counts.flushes = plan.flushes();
  plan.lift();
  if (over_) {
    over_();
  }
  was_open_ = image.has_value();
  if (image) {
    verdict = verdict ? verdict : what_is_held(**image);
    verdict = verdict ? verdict : use_again(**image, guest);
    verdict = verdict ? verdict : what_is_held(**image);
    const Result<void> closed = guest.close(**image);
    verdict = verdict || closed ? verdict : unclear(closed.error(), plan);
    was_refused_ = was_refused_ || !closed;
    image->reset();
  } else {
    verdict = unclear(image.error(), plan);
    was_refused_ = was_poisoned_ = true;  // There is nothing to go on with.
  }
  counts.hits = plan.hits() + sim::AllocationFaults::failed();
  if (!verdict && plan.writes_after_failed_flush() > 0) {
    verdict = "O9: something is written after a failed flush";
  }
  if (!verdict && !order.violation.empty()) {
    verdict = order.violation;
  }
  return verdict;
}

// What `qemu-img amend -o lazy_refcounts` does.
void FaultRun::switch_lazy(DiskPair& disks) const {
  constexpr std::uint64_t kLastOfCompatible = 87;
  std::array<std::byte, 1> bits{};
  if (folder_ == nullptr) {
    disks.image.content.read(kLastOfCompatible, bits);
    bits[0] ^= std::byte{1};
    disks.image.content.write(kLastOfCompatible, bits);
    return;
  }
  auto content = load_file(folder_->file(kImageName));
  VARVE_ASSERT(content.has_value());
  content->read(kLastOfCompatible, bits);
  bits[0] ^= std::byte{1};
  content->write(kLastOfCompatible, bits);
  VARVE_ASSERT(content->save(folder_->file(kImageName)));
}

std::optional<std::string> FaultRun::unclear(const Error& error, const sim::FaultPlan& plan) {
  const bool by_name = error.code == ErrorCode::io || error.code == ErrorCode::no_space ||
                       error.code == ErrorCode::poisoned || error.code == ErrorCode::no_memory;
  if (!by_name || error.what == nullptr || *error.what == '\0') {
    return "an unclear error: " + describe(error);
  }
  // A flush concerns everything; a resize has a place and no tag.
  const bool is_of_flush =
      plan.hit_flush() || std::string_view(error.what).starts_with("cannot flush");
  const bool says_where = error.tag != IoTag::none || error.offset != 0 || is_of_flush;
  if (error.code == ErrorCode::io && !says_where) {
    return "an I/O error that does not say where: " + describe(error);
  }
  return std::nullopt;
}

// With the fault gone the image works, or refuses by name.
std::optional<std::string> FaultRun::use_again(Image& image, Guest& guest) {
  const Result<void> written = guest.write(image, 0, kSectorBytes);
  const Result<void> flushed = guest.flush(image);
  for (const Result<void>* result : {&written, &flushed}) {
    if (!*result && result->error().code != ErrorCode::poisoned) {
      return "used again: " + describe(result->error());
    }
    was_poisoned_ = was_poisoned_ || !*result;
  }
  std::vector<std::byte> bytes(kSectorBytes);
  const Result<void> read = image.read(0, bytes);
  return read ? std::nullopt : Verdict("read again: " + describe(read.error()));
}

std::optional<std::string> FaultRun::judge(const FilePair& files, const Guest& guest,
                                           sim::Moment moment) {
  const bool excuse = parameter_.scenario.control && parameter_.geometry.create.version < 3;
  const sim::CrashContent content(files.image, files.data, &identify_sector);
  Expectation expected = guest.expectation(moment);
  expected.leaks_max = ~std::uint64_t{0};  // What a failure leaked is found by the next check.
  StateJudge::Found found;
  if (Verdict verdict = judge_.judge(content, guest, expected, excuse, found)) {
    return verdict;
  }
  if (metadata_.size() >= kLibraryMax || !metadata_.insert(found.metadata).second) {
    return std::nullopt;
  }
  Examination examination;
  examination.is_judged = true;
  examination.excuse_mismatches = excuse;
  examination.may_apply = !parameter_.scenario.add_bitmap;
  examination.ask_qemu =
      !is_qemu_spared_ && !found.is_dirty && !found.has_mismatches && qemu_++ < kQemuMax;
  return examine(lab_, guest, files, moment, examination);
}

}  // namespace varve::model
