#include <memory>

#include <varve/snapshot_operation.h>

#include "load_loop.h"

namespace varve::bench {

namespace {

Result<std::unique_ptr<SnapshotOperation>> start(Image& image, const LoadOptions& options,
                                                 SnapshotWork work) {
  if (work == SnapshotWork::create) {
    SnapshotCreateOptions create;
    create.name = options.name;
    return start_create(image, create);
  }
  const std::size_t index =
      VARVE_TRY(find_snapshot(image, {options.name, SnapshotReference::By::name}));
  return work == SnapshotWork::apply ? start_apply(image, index) : start_delete(image, index);
}

Result<void> work_on(Image& image, const LoadOptions& options, SnapshotWork work,
                     LoadReport& report) {
  const auto operation = VARVE_TRY(start(image, options, work));
  VARVE_TRY(operation->wait());
  report.pause_seconds = static_cast<double>(operation->times().pause_nanoseconds) / 1e9;
  report.usable_seconds = static_cast<double>(operation->times().usable_nanoseconds) / 1e9;
  return {};
}

}  // namespace

Result<LoadReport> run_snapshot(Engine& engine, const LoadOptions& options, SnapshotWork work) {
  constexpr double kUndisturbedSeconds = 0.2;
  const std::unique_ptr<Image> image = VARVE_TRY(open_image(engine, options, true));
  LoadOptions guest_options = options;
  guest_options.count = kForever;
  guest_options.random_order = true;
  Loop<Image, BlockRequest> guest(*image, guest_options, Places(guest_options, image->size()));
  LoadReport report;
  report.requests = 1;
  if (options.guest_depth != 0) {
    VARVE_TRY(guest.start(options.guest_depth));
    while (guest.completed() < 1000 && !guest.is_done()) {  // Until it runs at its usual pace.
      engine.wait();
    }
    guest.begin_watch();
  }
  const Stopwatch watch;
  const Result<void> worked = work_on(*image, options, work, report);
  report.seconds = watch.seconds();
  if (options.guest_depth != 0) {
    report.beside = guest.end_watch();
    guest.begin_watch();
    while (guest.watched_seconds() < std::max(report.seconds, kUndisturbedSeconds) &&
           !guest.is_done()) {
      engine.wait();
    }
    report.undisturbed = guest.end_watch();
    guest.stop();
    while (!guest.is_done()) {
      engine.wait();
    }
  }
  VARVE_TRY(worked);
  VARVE_TRY(guest.result());
  VARVE_TRY(image->close());
  return report;
}

}  // namespace varve::bench
