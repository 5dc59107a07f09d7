#include "model/fault_run.h"

#include "base/units.h"
#include "sim/sector_image.h"

namespace varve::model {

namespace {
// States per case that are shown to the library, and to qemu-img.
constexpr std::size_t kLibraryMax = 8;
constexpr std::uint64_t kQemuMax = 1;
}  // namespace

bool FaultRun::prepare(std::string& why) {
  prepared_ = model::prepare(lab_, parameter_.scenario, why);
  return prepared_.has_value();
}

std::optional<std::string> FaultRun::run(sim::FaultPlan& plan, const AllocationFault& allocation,
                                         Counts& counts) {
  sim::SimDisk disk;
  disk.content = sim::SparseBytes(&prepared_->file);
  sim::Moment clock = 0;
  Guest guest(
      lab_.rules(), prepared_->version, [&clock] { return ++clock; }, prepared_->next_stamp);
  if (Verdict verdict = act(plan, disk, guest, allocation, counts)) {
    return verdict;
  }
  if (!guest.violation().empty()) {
    return guest.violation();
  }
  return judge(disk.content, guest, ++clock);
}

std::optional<std::string> FaultRun::act(sim::FaultPlan& plan, sim::SimDisk& disk, Guest& guest,
                                         const AllocationFault& allocation, Counts& counts) {
  OrderRecord order;
  was_poisoned_ = false;
  // Below the faults: what is watched is what reaches the disk.
  auto storage = std::make_unique<sim::FaultyStorage>(
      std::make_unique<OrderStorage>(std::make_unique<sim::SimStorage>(lab_.engine(), disk),
                                     prepared_->file, order),
      plan);
  const OpenOptions options = lab_.open_options(true, parameter_.scenario.discard);
  sim::AllocationFaults::arm(allocation.index, allocation.from_then_on);
  auto image = [&] {
    const sim::AllocationWindow window;
    return lab_.open(std::move(storage), options);
  }();
  Verdict verdict;
  if (image) {
    Session session(**image, guest, parameter_.geometry);
    parameter_.scenario.act(session);
    counts.allocations = sim::AllocationFaults::disarm();
    verdict = session.failure() ? unclear(*session.failure(), plan) : verdict;
    counts.requests = plan.seen();
    plan.lift();
    verdict = verdict ? verdict : use_again(**image, guest);
    const Result<void> closed = guest.close(**image);
    verdict = verdict || closed ? verdict : unclear(closed.error(), plan);
    image->reset();
  } else {
    counts.allocations = sim::AllocationFaults::disarm();
    counts.requests = plan.seen();
    verdict = unclear(image.error(), plan);
    was_poisoned_ = true;  // There is nothing to go on with.
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

std::optional<std::string> FaultRun::unclear(const Error& error, const sim::FaultPlan& plan) {
  const bool by_name = error.code == ErrorCode::io || error.code == ErrorCode::no_space ||
                       error.code == ErrorCode::poisoned || error.code == ErrorCode::no_memory;
  if (!by_name || error.what == nullptr || *error.what == '\0') {
    return "an unclear error: " + describe(error);
  }
  // A flush concerns everything; a resize has a place and no tag.
  const bool says_where = error.tag != IoTag::none || error.offset != 0 || plan.hit_flush();
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

std::optional<std::string> FaultRun::judge(const sim::SparseBytes& file, const Guest& guest,
                                           sim::Moment moment) {
  const bool excuse = parameter_.scenario.control && parameter_.geometry.create.version < 3;
  const sim::SectorImage content(file, &identify_sector);
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
  examination.ask_qemu = !found.is_dirty && !found.has_mismatches && qemu_++ < kQemuMax;
  return examine(lab_, guest, file, moment, examination);
}

}  // namespace varve::model
