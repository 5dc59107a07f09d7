// ModelRunner: random overlapping requests against an image and a DiskModel at once, with
// snapshots, growth and reopening in between; live, with snapshot operations and growth while the
// requests are in flight. Everything follows from the seed (on simulated storage: exactly).
//
// Threads: the calling one. Lifetime: one run per runner.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include <varve/image.h>
#include <varve/snapshot_operation.h>

#include "model/disk_model.h"
#include "model/geometry_cases.h"
#include "model/model_host.h"
#include "sim/random.h"

namespace varve::model {

struct ModelOptions {
  std::string name;
  GeometryCase geometry;
  StorageKind storage = StorageKind::memory;
  unsigned depth = 16;  // Requests in flight.
  bool snapshots = true;
  bool compressed = true;
  DiscardMode discard = DiscardMode::ignore;
  std::uint64_t request_bytes_max = 65536;
  std::uint64_t size_max = 0;       // How far the disk may grow; 0: twice its first size.
  std::uint64_t operations = 5000;  // Guest requests.
  std::uint64_t seed = 1;
  bool ask_qemu = true;
  bool live = false;  // Snapshot operations overlap the requests.
  // Writes, zeroes and discards are as frequent as each other and meet in the first clusters.
  bool races = false;
  std::uint64_t publications =
      0;  // Goes on, within bounds, until so many were published beside them.
};
inline std::ostream& operator<<(std::ostream& stream, const ModelOptions& options) {
  return stream << options.name;
}

// A case of that name; requests reach over two clusters, and `request_bytes_max` at least.
[[nodiscard]] ModelOptions make_model_case(const char* name, std::uint32_t cluster_bytes,
                                           std::uint64_t size_bytes, StorageKind storage,
                                           unsigned depth, std::uint64_t request_bytes_max);

// The case with this run's own seed for it, and VARVE_MODEL_DEPTH requests in flight.
[[nodiscard]] ModelOptions with_environment(ModelOptions options);

class ModelRunner {
 public:
  explicit ModelRunner(const ModelOptions& options);
  ~ModelRunner();

  // What went wrong, with the end of the log; nothing when all is well.
  [[nodiscard]] std::optional<std::string> run();
  // Set when the machine lacks what the storage kind needs; nothing was run.
  [[nodiscard]] bool is_unsupported() const noexcept { return unsupported_; }
  // Snapshots taken beside the requests.
  [[nodiscard]] std::uint64_t published() const noexcept { return published_; }

 private:
  struct Slot {
    BlockRequest request;
    std::vector<IoVector> vectors;
    std::vector<std::byte> buffer;
    ModelRunner* runner = nullptr;
    std::string text;
    bool busy = false;
    bool is_read = false;
    DiskModel::RequestId read = 0;
    std::vector<std::pair<DiskModel::RequestId, Certainty>> changes;
    Stamp stamp = kZeroStamp;
    DiskModel* model = nullptr;        // The active disk's, or an open snapshot's.
    std::optional<ErrorCode> refusal;  // The disk it was meant for is not there any more.
  };
  struct KeptSnapshot {
    std::string name;
    DiskModel model{0};
    std::vector<std::byte> seen;  // What it showed when it was first read: it never changes.
  };
  // A snapshot operation under way or waiting for its turn.
  enum class LiveKind : std::uint8_t { create, apply, remove };
  struct LiveOperation {
    ModelRunner* runner = nullptr;
    LiveKind kind = LiveKind::create;
    std::string name;
    std::unique_ptr<SnapshotOperation> operation;
    std::optional<DiskModel> frozen;
    bool is_switched = false;
    bool is_cancelled = false;
  };

  static constexpr std::size_t kSnapshotsMax = 6;  // Of those it takes, at a time.

  void look_at_order();
  void start();
  void step();
  void submit(Slot& slot);
  void make_request(Slot& slot);
  void make_racing_request(Slot& slot);
  void make_read(Slot& slot, DiskModel& model);
  void make_write(Slot& slot);
  void make_compressed(Slot& slot);
  void make_zero(Slot& slot);
  void make_discard(Slot& slot);
  void begin_discard(Slot& slot);
  void set_buffer(Slot& slot, std::uint64_t length);
  [[nodiscard]] std::pair<std::uint64_t, std::uint64_t> pick_range(std::uint64_t size);
  [[nodiscard]] std::pair<std::uint64_t, std::uint64_t> pick_racing_range(std::uint64_t size);
  static void completed(BlockRequest& request, const Result<void>& result);
  void finish(Slot& slot, const Result<void>& result);
  void drain();

  // model_live.cc
  void live_step();
  void start_operation();
  void move_on(LiveOperation& live);
  void cancel_operation();
  void grow_live();
  static void phase_changed(SnapshotOperation& operation, void* owner);
  void switch_disk(const DiskModel& to);
  void operation_done(LiveOperation& live);
  void judge_failure(const LiveOperation& live, const Error& error);
  void collect_operations();
  void finish_operations();
  void compare_snapshot(KeptSnapshot& kept);
  [[nodiscard]] KeptSnapshot* find_kept(const std::string& name);
  [[nodiscard]] std::optional<std::size_t> index_of(const std::string& name);

  void control();
  void keep(const std::string& name, const DiskModel& model);
  void create_snapshot();
  void apply_snapshot();
  void delete_snapshot();
  void rename_snapshot();
  void open_reader();
  void close_reader();
  void grow();
  void reopen();
  void open();
  void close();
  void compare_all();
  void compare_disk(Image& image, const DiskModel& model, const std::string& what);
  void check_closed();
  void ask_qemu();

  void log(const std::string& line);
  void fail(const std::string& what);
  // Logs and fails unless the result is good.
  bool must(const std::string& what, const Result<void>& result);

  ModelOptions options_;
  sim::Random random_;
  std::unique_ptr<ModelHost> host_;
  std::unique_ptr<Image> image_;
  std::unique_ptr<Image> reader_;  // A snapshot read beside the writer.
  KeptSnapshot* reader_snapshot_ = nullptr;
  std::string looked_at_;  // A snapshot that is being opened or read just now.
  DiskModel model_;
  std::vector<std::unique_ptr<KeptSnapshot>> snapshots_;
  std::vector<std::unique_ptr<LiveOperation>> operations_;
  std::uint64_t published_ = 0;
  bool is_growing_ = false;
  bool is_closing_ = false;
  std::vector<std::unique_ptr<Slot>> slots_;
  unsigned in_flight_ = 0;
  std::uint64_t submitted_ = 0;
  Stamp next_stamp_ = 2;
  std::uint64_t next_name_ = 1;
  std::deque<std::string> log_;
  std::string failure_;
  bool unsupported_ = false;
};

}  // namespace varve::model
