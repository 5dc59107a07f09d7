// Every field of a small image takes extreme values and loses or gains every single bit. Whatever
// it then is: opening, reading, checking and writing end, with a result or a named error, and the
// header stays what it was.
#include <algorithm>

#include <unistd.h>
#include <varve/check.h>
#include <varve/snapshot.h>

#include "base/endian.h"
#include "format/bitmap_directory.h"
#include "format/header.h"
#include "format/snapshot_table.h"
#include "image/ground.h"
#include "sim/faulty_storage.h"
#include "sim/random.h"
#include "sim/sim_disk.h"

namespace varve::test {
namespace {

// More requests than anything done here may take; beyond it the storage fails, and the test.
constexpr std::uint64_t kRequestsMax = 60'000;
// A hang ends the program.
constexpr unsigned kSecondsMax = 300;

struct Place {
  std::string name;
  std::uint64_t offset = 0;
  std::uint64_t size = 0;  // Bytes; at most 8.
};

// No file but the external data file, where the image has one.
class Files final : public FileOpener {
 public:
  Result<std::unique_ptr<Storage>> open(Engine& engine, const std::string& name,
                                        const FileOptions&) override {
    if (data != nullptr && name.ends_with("data")) {
      return std::unique_ptr<Storage>(std::make_unique<sim::SimStorage>(engine, *data));
    }
    Error error;
    error.code = ErrorCode::not_found;
    error.what = "there are no files here";
    return error;
  }

  sim::SimDisk* data = nullptr;
};

void expect_named(const Error& error) {
  EXPECT_NE(std::string_view(error.what), "") << describe(error);
  EXPECT_EQ(error.code == ErrorCode::corrupt, error.corruption != Corruption::none)
      << describe(error);
  EXPECT_FALSE(describe(error).empty());
}
template <class T>
bool is_good(const Result<T>& result) {
  if (!result) {
    expect_named(result.error());
  }
  return result.has_value();
}

class Victim {
 public:
  explicit Victim(const CreateOptions& options) : cluster_(options.cluster_bytes) {
    {
      sim::SimStorage storage(*engine_, base_);
      sim::SimStorage data(*engine_, data_);
      has_data_file_ = !options.data_file_name.empty();
      VARVE_EXPECT_OK(create_image_in(storage, has_data_file_ ? &data : nullptr, options));
    }
    files_.data = has_data_file_ ? &data_ : nullptr;
    OpenOptions open_options;
    open_options.writable = true;
    open_options.opener = &files_;
    auto image = Image::open(std::make_unique<sim::SimStorage>(*engine_, base_), "/", open_options);
    EXPECT_TRUE(image.has_value());
    if (has_data_file_) {
      fill_data_file(**image);
    } else {
      fill(**image);
    }
    VARVE_EXPECT_OK((*image)->close());
    find_places();
  }
  // An image somebody else made.
  Victim(const std::string& path, std::uint32_t cluster_bytes) : cluster_(cluster_bytes) {
    base_.content = std::move(*model::load_file(path));
    find_places();
  }

  [[nodiscard]] const std::vector<Place>& places() const { return places_; }
  [[nodiscard]] std::uint64_t value_at(const Place& place) const {
    return load_field(content(), {"", place.offset, place.size});
  }

  // Everything a program may do with an image in which `place` holds `value`.
  void suffer(const Place& place, std::uint64_t value) {
    sim::SimDisk disk;
    disk.content = sim::SparseBytes(&base_.content);
    sim::SimDisk data;
    data.content = sim::SparseBytes(&data_.content);
    files_.data = has_data_file_ ? &data : nullptr;
    std::byte bytes[8];
    for (std::size_t i = 0; i < place.size; ++i) {
      bytes[i] = static_cast<std::byte>(value >> (8 * (place.size - 1 - i)));
    }
    disk.content.write(place.offset, ConstBytes(bytes).first(place.size));
    ::alarm(kSecondsMax);
    read_only(disk);
    writing(disk, place);
    ::alarm(0);
  }

 private:
  [[nodiscard]] std::vector<std::byte> content() const { return base_.content.flat(); }

  // Data, zeros, a compressed cluster, and a snapshot that shares most of them.
  void fill(Image& image) {
    const std::uint64_t c = cluster_;
    VARVE_EXPECT_OK(image.write(0, pattern(2 * c, 1)));
    VARVE_EXPECT_OK(image.write_zeroes(2 * c, c));
    VARVE_EXPECT_OK(image.write_compressed(3 * c, pattern(c, 2)));
    VARVE_EXPECT_OK(image.write_compressed(4 * c, pattern(c, 3)));
    SnapshotCreateOptions options;
    options.name = "kept";
    VARVE_EXPECT_OK(create_snapshot(image, options));
    VARVE_EXPECT_OK(image.write(c, pattern(100, 4)));
    VARVE_EXPECT_OK(image.write(5 * c, pattern(c, 5)));
  }

  // What an image with an external data file can hold.
  void fill_data_file(Image& image) {
    VARVE_EXPECT_OK(image.write(0, pattern(2 * cluster_, 1)));
    VARVE_EXPECT_OK(image.write_zeroes(2 * cluster_, cluster_));
    VARVE_EXPECT_OK(image.write(5 * cluster_, pattern(cluster_, 5)));
  }

  void add(const std::string& name, std::uint64_t offset, std::uint64_t size) {
    if (size <= 8 && offset + size <= base_.content.size()) {
      places_.push_back({name, offset, size});
    }
  }
  void add_fields(const std::string& name, std::uint64_t offset, std::span<const Field> fields) {
    for (const Field& field : fields) {
      add(name + "." + field.name, offset + field.offset, field.size);
    }
  }
  void add_entries(const std::string& name, std::uint64_t offset, unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
      add(name + "[" + std::to_string(i) + "]", offset + 8 * i, 8);
    }
  }

  void find_places() {
    const std::vector<std::byte> bytes = content();
    const Header header = std::move(*Header::parse(ConstBytes(bytes).first(cluster_)));
    for (const Field& field : kHeaderFields) {
      if (field.offset + field.size <= header.header_bytes) {
        add(std::string("header.") + field.name, field.offset, field.size);
      }
    }
    find_extensions(bytes, header);
    add_entries("l1", header.l1_offset.value(), std::min(header.l1_entries, 2u));
    const std::uint64_t table = header.refcount_table_offset.value();
    add_entries("refcount_table", table, 3);
    constexpr std::uint64_t kOffsetMask = 0x00ff'ffff'ffff'fe00;
    const std::uint64_t l2 = load_be<std::uint64_t>(bytes, header.l1_offset.value()) & kOffsetMask;
    if (l2 != 0) {
      add_entries("l2", l2, header.geometry.extended_l2 ? 14 : 7);
    }
    const std::uint64_t block = load_be<std::uint64_t>(bytes, table) & kOffsetMask;
    add_entries("refcounts", block, 3);
    if (header.snapshot_count != 0) {
      const std::uint64_t entry = header.snapshot_table_offset.value();
      add_fields("snapshot", entry, kSnapshotEntryFields);
      add_entries("snapshot.extra", entry + sizeof(RawSnapshotEntry), 3);
      const std::uint64_t l1 = load_be<std::uint64_t>(bytes, entry);
      add_entries("snapshot.l1", l1, 1);
      add_entries("snapshot.l2", load_be<std::uint64_t>(bytes, l1) & kOffsetMask, 4);
    }
  }

  void find_extensions(const std::vector<std::byte>& bytes, const Header& header) {
    std::uint64_t at = header.header_bytes;
    for (const HeaderExtension& extension : header.extensions) {
      const std::string name = "extension" + std::to_string(at);
      add(name + ".type", at, 4);
      add(name + ".length", at + 4, 4);
      if (extension.type == kExtensionBitmaps) {
        add_fields(name, at + 8, kBitmapsExtensionFields);
        const std::uint64_t directory = load_be<std::uint64_t>(bytes, at + 8 + 16);
        add_entries("bitmap_directory", directory, 4);
        add_entries("bitmap_table", load_be<std::uint64_t>(bytes, directory), 1);
      } else {
        add(name + ".data", at + 8, 8);
      }
      at += 8 + round_up(extension.data.size(), 8);
    }
    add("end.type", at, 4);
    add("end.length", at + 4, 4);
  }

  // `body` with the image open, on a storage that ends what does not end.
  template <class Body>
  void with_image(sim::SimDisk& disk, const OpenOptions& options, Body body) {
    sim::FaultPlan plan;
    sim::FaultRule rule;
    rule.nth = kRequestsMax;
    rule.from_then_on = true;
    plan.add(rule);
    {
      auto image = Image::open(std::make_unique<sim::FaultyStorage>(
                                   std::make_unique<sim::SimStorage>(*engine_, disk), plan),
                               "/", options);
      if (is_good(image)) {
        body(**image);
        static_cast<void>(is_good((*image)->close()));
      }
    }
    EXPECT_LT(plan.seen(), kRequestsMax) << "requests without end";
  }

  void read_some(Image& image) {
    const std::uint64_t size = image.size();
    ByteVector bytes(16 * cluster_);
    const std::uint64_t first = std::min<std::uint64_t>(size, bytes.size());
    static_cast<void>(is_good(image.read(0, std::span(bytes).first(first))));
    for (std::uint64_t offset = 0; offset < first; offset += cluster_) {
      const std::uint64_t length = std::min<std::uint64_t>(cluster_, first - offset);
      static_cast<void>(is_good(image.read(offset, std::span(bytes).first(length))));
      static_cast<void>(is_good(image.status(offset, length)));
    }
    static_cast<void>(
        is_good(image.read(size - std::min<std::uint64_t>(size, 700),
                           std::span(bytes).first(std::min<std::uint64_t>(size, 700)))));
  }

  // Thousands of images are opened here: each is given as little memory as it can work with.
  OpenOptions frugal() {
    OpenOptions options;
    options.opener = &files_;
    options.l2_cache_bytes = 4 * cluster_;
    options.refcount_cache_bytes = 4 * cluster_;
    options.operations_max = 4;
    return options;
  }

  void read_only(sim::SimDisk& disk) {
    const OpenOptions options = frugal();
    with_image(disk, options, [&](Image& image) {
      static_cast<void>(image.facts());
      read_some(image);
      if (const auto report = check(image); is_good(report)) {
        EXPECT_LE(report->findings.size(), CheckOptions().findings_max);
      }
      const auto list = list_snapshots(image);
      if (is_good(list) && !list->empty()) {
        if (const auto view = open_snapshot(image, 0); is_good(view)) {
          read_some(**view);
          static_cast<void>((*view)->close());
        }
      }
    });
  }

  void writing(sim::SimDisk& disk, const Place& place) {
    OpenOptions options = frugal();
    options.writable = true;
    const std::uint64_t c = cluster_;
    with_image(disk, options, [&](Image& image) {
      const ByteVector bytes = pattern(c, 9);
      for (const std::uint64_t offset : {c / 2, 3 * c, 5 * c, 7 * c}) {
        if (is_good(image.write(offset, bytes))) {
          ByteVector found(bytes.size());
          if (is_good(image.read(offset, found))) {
            // In a data file, where nothing is counted, two clusters may name the same place.
            EXPECT_TRUE(found == bytes || has_data_file_) << "not what was written at " << offset;
          }
        }
      }
      static_cast<void>(is_good(image.write_zeroes(0, 2 * c, true)));
      static_cast<void>(is_good(image.discard(4 * c, 2 * c)));
      static_cast<void>(is_good(image.flush()));
      static_cast<void>(is_good(image.write(0, pattern(9 * c, 8))));
    });
    std::byte magic[4];
    disk.content.read(0, Bytes(magic));
    if (place.name != "header.magic") {
      EXPECT_EQ(load_be<std::uint32_t>(ConstBytes(magic), 0), kMagic) << "the header is gone";
    }
  }

  std::uint64_t cluster_;
  Files files_;
  bool has_data_file_ = false;
  sim::SimDisk data_;
  std::unique_ptr<Engine> engine_ = make_engine(AioBackend::threads, 256, 0);
  sim::SimDisk base_;
  std::vector<Place> places_;
};

// VARVE_FIELD_SHARE=8 tries one case in eight, which ones the seed decides.
void try_every_field(Victim& victim) {
  const std::uint64_t share = sim::environment_number("VARVE_FIELD_SHARE", 1);
  std::uint64_t number = sim::seed_from_environment();
  for (const Place& place : victim.places()) {
    const std::uint64_t max =
        place.size == 8 ? ~std::uint64_t{0} : (std::uint64_t{1} << (8 * place.size)) - 1;
    const std::uint64_t now = victim.value_at(place);
    std::vector<std::uint64_t> values = {0, max, (now + 1) & max, (now - 1) & max, max / 2};
    for (std::uint64_t bit = 0; bit < 8 * place.size; ++bit) {
      values.push_back(now ^ std::uint64_t{1} << bit);
      values.push_back(std::uint64_t{1} << bit);
    }
    for (const std::uint64_t value : values) {
      if (number++ % share != 0) {
        continue;
      }
      SCOPED_TRACE(place.name + " = " + std::to_string(value) + " instead of " +
                   std::to_string(now));
      victim.suffer(place, value);
      if (::testing::Test::HasFatalFailure()) {
        return;
      }
    }
  }
}

CreateOptions small(std::uint32_t version, std::uint32_t cluster_bytes, bool extended) {
  CreateOptions options;
  options.size_bytes = 10 * std::uint64_t{cluster_bytes} + 512;
  options.version = version;
  options.cluster_bytes = cluster_bytes;
  options.extended_l2 = extended;
  return options;
}

TEST(EveryField, OfVersion3EndsInAResultOrANamedError) {
  Victim victim(small(3, 4096, false));
  try_every_field(victim);
}

TEST(EveryField, OfVersion2EndsInAResultOrANamedError) {
  Victim victim(small(2, 512, false));
  try_every_field(victim);
}

TEST(EveryField, WithExtendedL2EndsInAResultOrANamedError) {
  Victim victim(small(3, 16384, true));
  try_every_field(victim);
}

TEST(EveryField, WithNarrowRefcountsEndsInAResultOrANamedError) {
  CreateOptions options = small(3, 4096, false);
  options.refcount_bits = 4;  // Two compressed clusters in one, and a snapshot of both.
  Victim victim(options);
  try_every_field(victim);
}

TEST(EveryField, WithABackingNameEndsInAResultOrANamedError) {
  // The backing file is never found: what counts is how the name is read.
  CreateOptions options = small(3, 4096, false);
  const Ground ground(GroundKind::threads);
  options.backing_name = "below";
  options.backing_format = "qcow2";
  const std::unique_ptr<Engine> engine = make_engine(AioBackend::threads);
  VARVE_ASSERT_OK(create_image(*engine, ground.file("image"), options));
  Victim victim(ground.file("image"), 4096);
  try_every_field(victim);
}

// History: 93e32b3e20.
TEST(EveryField, WithADataFileEndsInAResultOrANamedError) {
  CreateOptions options = small(3, 4096, false);
  options.data_file_name = "data";
  Victim victim(options);
  try_every_field(victim);
  options.data_file_raw = true;
  Victim raw(options);
  try_every_field(raw);
}

TEST(EveryField, WithZstdEndsInAResultOrANamedError) {
  CreateOptions options = small(3, 4096, false);
  options.compression = Compression::zstd;
  Victim victim(options);
  // The header's byte about it, and the streams' descriptors; the rest is told above.
  for (const Place& place : victim.places()) {
    if (place.name.starts_with("l2[") || place.name.starts_with("header.")) {
      for (unsigned bit = 0; bit < 8 * place.size; ++bit) {
        SCOPED_TRACE(place.name + " bit " + std::to_string(bit));
        victim.suffer(place, victim.value_at(place) ^ std::uint64_t{1} << bit);
      }
    }
  }
}

TEST(EveryField, WithBitmapsEndsInAResultOrANamedError) {
  VARVE_NEED_QEMU();
  const Ground ground(GroundKind::threads);
  const std::string path = ground.file("image");
  for (const std::vector<std::string>& command :
       {std::vector<std::string>{"qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=4k",
                                 path, "40k"},
        {"qemu-io", "-f", "qcow2", "-c", "write -P 4 0 30k", path},
        {"qemu-img", "bitmap", "--add", "-f", "qcow2", path, "one"},
        {"qemu-io", "-f", "qcow2", "-c", "write -P 5 0 10k", path},
        {"qemu-img", "bitmap", "--add", "-f", "qcow2", path, "two"}}) {
    ASSERT_EQ(model::run_command(command).status, 0) << command[0];
  }
  Victim victim(path, 4096);
  try_every_field(victim);
}

}  // namespace
}  // namespace varve::test
