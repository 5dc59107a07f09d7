// Life: an image made, written, grown, handed over and closed, on simulated storages of which a
// request, a lock or an allocation fails. Whatever fails is told by name; what was told durable is
// there afterwards; the image opens again, or was never made.
//
// Threads: the engine's.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include <varve/create.h>
#include <varve/image.h>

#include "base/units.h"
#include "sim/allocation_faults.h"
#include "sim/decorator_storage.h"
#include "sim/faulty_storage.h"
#include "sim/sim_disk.h"

namespace varve::model {

// What an image is made of and what becomes of it.
struct Life {
  std::string name;
  CreateOptions create;
  Preallocation growth = Preallocation::off;  // Of the growing, ...
  std::uint64_t grown_bytes = 0;              // ... up to here; 0: it is not grown.
  std::uint64_t grown_again_bytes = 0;        // The same in a second session.
  std::uint64_t bulk_clusters = 0;            // Written in one request, at first.
  std::uint64_t device_bytes = 0;             // Not 0: on a device of this size, ...
  bool has_data_device = false;               // ... or only its data file is.
  unsigned layers = 1;                        // With those below, of which the last is raw.
  std::uint64_t below_bytes = 0;              // The size of the layer below; 0: half the disk's.
  bool has_hidden = false;       // The file maps data behind the disk's end, where it will grow.
  bool has_unknown = false;      // The header has an autoclear bit that is not known here.
  bool can_write_zeroes = true;  // Of its files.
  bool has_snapshots = false;
  unsigned snapshots_more = 0;  // So many more, of one disk: counts become large.
  bool dies = false;            // The file says that it was in use, and is opened once more.
  std::size_t cache_bytes = 0;
  unsigned operations_max = 4;
};

inline std::ostream& operator<<(std::ostream& stream, const Life& life) {
  return stream << life.name;
}
[[nodiscard]] std::vector<Life> lives();

// Calls that are no requests (locks, looks at a size) fail by a count of their own.
struct LifeCalls {
  std::uint64_t seen = 0;
  std::optional<std::uint64_t> failing;
  std::uint64_t hits = 0;
};

class LifeRun final : private FileOpener {
 public:
  // Bytes of the closed file that are no longer what they were.
  struct Damage {
    std::uint64_t offset = 0;
    std::uint64_t value = 0;  // Of eight bytes.
  };
  struct Fault {
    std::optional<Damage> damage;
    std::optional<sim::FaultRule> request;
    std::optional<std::uint64_t> call;
    std::uint64_t allocation = sim::AllocationFaults::kNever;
    bool from_then_on = false;  // Of allocations.
  };

  LifeRun(const Life& life, Engine& engine) : life_(life), engine_(engine) {}

  // What was wrong, or nothing.
  [[nodiscard]] std::string run(const Fault& fault);

  // The file as the last run left it.
  [[nodiscard]] const sim::SparseBytes& file() { return disks_[kTop].content; }
  [[nodiscard]] std::uint64_t requests() const noexcept { return requests_; }
  [[nodiscard]] std::uint64_t calls() const noexcept { return calls_seen_; }
  [[nodiscard]] std::uint64_t allocations() const noexcept { return allocations_; }
  [[nodiscard]] std::uint64_t hits() const noexcept { return hits_; }

 private:
  static constexpr const char* kTop = "/lab/top";
  static constexpr const char* kData = "/lab/data";

  Result<std::unique_ptr<Storage>> open(Engine& engine, const std::string& name,
                                        const FileOptions& options) override;
  [[nodiscard]] std::unique_ptr<Storage> storage_of(const std::string& name);
  [[nodiscard]] OpenOptions open_options() noexcept;
  void lay_ground();
  [[nodiscard]] Result<void> make();
  [[nodiscard]] Result<std::unique_ptr<Image>> open_image();
  void live();
  void use(Image& image);
  void use_snapshots(Image& image);
  void grow(Image& image, std::uint64_t size);
  void use_again(Image& image);
  void repair_what_is_left();
  void put(std::uint64_t offset, std::uint64_t value);
  [[nodiscard]] std::uint64_t get(std::uint64_t offset);
  void judge_end();

  // Every answer passes through here; false where it is an error.
  bool told(const char* what, const Result<void>& answer);
  void wrong(const std::string& what);

  // --- what the disk must hold, by sector; a sector in doubt holds nothing in particular.
  void write(Image& image, std::uint64_t offset, std::uint64_t length);
  void write_compressed(Image& image, std::uint64_t offset);
  void write_zeroes(Image& image, std::uint64_t offset, std::uint64_t length, bool may_unmap);
  void discard(Image& image, std::uint64_t offset, std::uint64_t length);
  void flush(Image& image);
  void note(const Result<void>& answer, std::uint64_t offset, std::uint64_t length,
            std::optional<std::uint8_t> value);
  void settled(bool is_durable);
  void compare(Image& image, const char* when);

  const Life& life_;
  Engine& engine_;
  std::map<std::string, sim::SimDisk> disks_;
  sim::FaultPlan plan_;
  LifeCalls calls_;
  bool has_fault_ = false;
  bool is_damaged_ = false;
  bool says_no_ = false;  // Something has failed already.
  bool is_made_ = false;
  std::uint64_t requests_ = 0;
  std::uint64_t calls_seen_ = 0;
  std::uint64_t allocations_ = 0;
  std::uint64_t hits_ = 0;
  std::string verdict_;
  struct Sector {
    std::optional<std::uint8_t> value;
    bool is_durable = false;
  };
  std::vector<Sector> sectors_;
  std::uint64_t size_ = 0;      // Told last.
  std::uint64_t size_max_ = 0;  // Asked for last.
  std::uint8_t next_value_ = 1;
};

}  // namespace varve::model
