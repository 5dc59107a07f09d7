// Goal: an audit finds each kind of thing it knows, where it stands, and nothing in images that are
// in order. Method: a table with an image for every kind, which must be complete; and images of
// Varve and QEMU that nobody has touched.
#include <map>

#include "maintenance/audit_fixture.h"
#include "sim/faulty_storage.h"

namespace varve::test {
namespace {

class AuditKinds : public AuditTest {
 protected:
  struct Case {
    AuditKind kind;
    std::function<void()> make;
  };
  [[nodiscard]] std::vector<Case> name_cases();
  [[nodiscard]] std::vector<Case> header_cases();
  [[nodiscard]] std::vector<Case> content_cases();
  [[nodiscard]] std::vector<Case> snapshot_cases();

  // Clusters behind everything, inside the file, the first one holding data.
  std::uint64_t append_data(std::uint64_t clusters = 1) {
    const std::uint64_t end = std::filesystem::file_size(path_);
    std::filesystem::resize_file(path_, end + clusters * cluster_);
    put(end + 100, 0x1234);
    return end;
  }
  // Cluster 2 of the disk is given back, as by a discard that leaves the bytes.
  void drop_cluster_2() {
    const std::uint64_t dropped = host(2);
    put(l2(2), 0);
    put(count_of(dropped), 0, 2);
  }
};

std::vector<AuditKinds::Case> AuditKinds::name_cases() {
  return {
      {AuditKind::backing_file, [this] { make_on("base.qcow2"); }},
      {AuditKind::backing_format_missing,
       [this] {
         make_on("base.qcow2");
         Header bare = header();
         std::erase_if(bare.extensions, [](const HeaderExtension& extension) {
           return extension.type == kExtensionBackingFormat;
         });
         put_header(bare);
       }},
      {AuditKind::backing_format_unusual,
       [this] {
         make_on("base.vmdk");
         set_extension(kExtensionBackingFormat, "vmdk");
       }},
      {AuditKind::data_file,
       [this] {
         make_with([this](CreateOptions& o) { o.data_file_name = folder_.file("data"); });
       }},
      {AuditKind::protocol_name, [this] { make_on("nbd:127.0.0.1:10809", "raw"); }},
      {AuditKind::path_outside_folder, [this] { make_on("images/../../base.qcow2"); }},
      {AuditKind::odd_characters, [this] { make_on("ba\x1b[2Jse.qcow2"); }},
  };
}

std::vector<AuditKinds::Case> AuditKinds::header_cases() {
  constexpr std::uint64_t kIncompatible = offsetof(RawHeader, incompatible_features);
  const auto with_bits = [this](std::uint64_t field, std::uint64_t bits) {
    make(small());
    set_bits(field, bits);
  };
  return {
      {AuditKind::unknown_feature,
       [=] { with_bits(offsetof(RawHeader, autoclear_features), 1u << 9); }},
      {AuditKind::unknown_extension,
       [this] {
         make(small());
         set_extension(0x12345678, "what is this");
       }},
      {AuditKind::unknown_header_fields,
       [this] {
         make(small());
         Header longer = header();
         longer.unknown_header_fields.assign(8, std::byte{1});
         put_header(longer);
       }},
      {AuditKind::contradiction,
       [this] {
         make(small());
         put(offsetof(RawHeader, backing_name_bytes), 9, 4);
       }},
      {AuditKind::hidden_header_bytes,
       [this] {
         make(small());
         put(2000, 0x77, 1);
       }},
      {AuditKind::encrypted,
       [this] {
         make(small());
         put(offsetof(RawHeader, encryption_method), 2, 4);
       }},
      {AuditKind::dirty, [=] { with_bits(kIncompatible, kIncompatibleDirty); }},
      {AuditKind::marked_corrupt, [=] { with_bits(kIncompatible, kIncompatibleCorrupt); }},
      {AuditKind::not_judged, [=] { with_bits(kIncompatible, 1u << 20); }},
      {AuditKind::huge_disk,
       [this] {
         make_with([](CreateOptions& o) {
           o.cluster_bytes = 2 * kMiB;
           o.size_bytes = std::uint64_t{1} << 51;
         });
       }},
      {AuditKind::feature,
       [this] {
         make_with([](CreateOptions& o) {
           o.cluster_bytes = 64 * kKiB;
           o.extended_l2 = true;
         });
       }},
      {AuditKind::other_program,
       [this] { make_with([](CreateOptions& o) { o.refcount_bits = 2; }); }},
  };
}

std::vector<AuditKinds::Case> AuditKinds::snapshot_cases() {
  const auto two = [this](const char* second) {
    make(small());
    add_snapshot("one");
    add_snapshot(second);
  };
  return {
      {AuditKind::snapshots, [=] { two("two"); }},
      {AuditKind::machine_state,
       [=, this] {
         two("two");
         put(snapshot_field(40 + 8), 2 * kMiB);
         put(snapshot_field(40), 100);
       }},
      {AuditKind::snapshot_size_differs,
       [=, this] {
         two("two");
         put(snapshot_field(40 + 8), 2 * kMiB);
       }},
      {AuditKind::snapshot_id_duplicate,
       [=, this] {
         two("two");
         const std::uint64_t id = 40 + get(snapshot_field(36), 4);
         put(snapshot_field(id), '2', 1);
       }},
      {AuditKind::snapshot_name_duplicate, [=] { two("one"); }},
      {AuditKind::snapshot_unknown_data,
       [=, this] {
         two("two");
         put(snapshot_field(40 + sizeof(RawSnapshotExtra)), 0, 4);
       }},
  };
}

std::vector<AuditKinds::Case> AuditKinds::content_cases() {
  return {
      {AuditKind::broken_rule,
       [this] {
         make(small());
         put(l2(3), get(l2(3)) + (std::uint64_t{1} << 40));
       }},
      {AuditKind::mismatch,
       [this] {
         make(small());
         put(l2(3), get(l2(3)) & ~kCopied);
       }},
      {AuditKind::unsettled_counts,
       [this] {
         make(small());
         put(l2(3), get(l2(3)) & ~kCopied);
         set_bits(offsetof(RawHeader, incompatible_features), kIncompatibleDirty);
       }},
      {AuditKind::leaked_clusters,
       [this] {
         make(small());
         put(l2(3), 0);
       }},
      {AuditKind::compressed_data,
       [this] {
         make(small());
         const auto image = open(true);
         const std::vector<std::byte> bytes(cluster_, std::byte{0x11});
         ASSERT_TRUE(image->write_compressed(20 * cluster_, bytes).has_value());
         ASSERT_TRUE(image->close().has_value());
       }},
      {AuditKind::data_beyond_disk,
       [this] {
         // Clusters 5 and 8 lie behind the end then, which is in cluster 4.
         make(small());
         put(offsetof(RawHeader, virtual_size), 4 * cluster_ + 512);
       }},
      {AuditKind::table_slack,
       [this] {
         make(small());
         put(get(offsetof(RawHeader, l1_offset)) + 800, 0x1234);
       }},
      {AuditKind::leaked_data,
       [this] {
         make(small());
         put(count_of(append_data()), 1, 2);
       }},
      {AuditKind::data_after_end,
       [this] {
         make(small());
         append_data();
       }},
      {AuditKind::deleted_data,
       [this] {
         make(small());
         drop_cluster_2();
       }},
  };
}

// Bitmaps are QEMU's, and what cannot be read needs a storage: they have tests of their own.
const std::map<AuditKind, const char*> kElsewhere = {
    {AuditKind::bitmaps, "FindsBitmaps"},
    {AuditKind::bitmap_in_use, "FindsBitmaps"},
    {AuditKind::bitmaps_left_behind, "FindsBitmaps"},
    {AuditKind::unreadable, "TellsWhatCannotBeRead"},
};

TEST_F(AuditKinds, EachIsFoundAndNothingGraver) {
  std::vector<Case> cases = name_cases();
  for (std::vector<Case> more : {header_cases(), snapshot_cases(), content_cases()}) {
    std::ranges::move(more, std::back_inserter(cases));
  }
  std::vector<bool> is_covered(kAuditKindCount);
  for (const auto& [kind, test] : kElsewhere) {
    is_covered[static_cast<unsigned>(kind)] = true;
  }
  for (const Case& image : cases) {
    SCOPED_TRACE(audit_kind_name(image.kind));
    path_ = folder_.file(std::string(audit_kind_name(image.kind)) + ".qcow2");
    image.make();
    const AuditReport report = look();
    is_covered[static_cast<unsigned>(image.kind)] = true;
    const AuditFinding* found = find(report, image.kind);
    ASSERT_NE(found, nullptr) << words(report);
    EXPECT_EQ(found->severity, audit_severity(image.kind));
    // Sorted, so the first is the gravest.
    EXPECT_EQ(report.findings.front().severity, found->severity) << words(report);
    EXPECT_FALSE(found->message.empty());
  }
  for (unsigned kind = 0; kind < kAuditKindCount; ++kind) {
    EXPECT_TRUE(is_covered[kind]) << audit_kind_name(static_cast<AuditKind>(kind));
  }
}

TEST_F(AuditKinds, FindsBitmaps) {
  VARVE_NEED_QEMU_IMG();
  ASSERT_TRUE(
      folder_.run("qemu-img create -f qcow2 disk.qcow2 64M && qemu-img bitmap --add "
                  "disk.qcow2 nightly && qemu-io -c 'write 100k 1M' disk.qcow2"));
  cluster_ = 64 * kKiB;
  AuditReport report = look();
  ASSERT_NE(find(report, AuditKind::bitmaps), nullptr) << words(report);
  EXPECT_EQ(report.damages + report.suspicious, 0u) << words(report);
  const AuditFinding* program = find(report, AuditKind::other_program);
  ASSERT_NE(program, nullptr);
  EXPECT_STREQ(program->program, "any without bitmaps");

  // Varve does not keep bitmaps: it marks them before the disk changes.
  const auto image = open(true);
  write(*image, 0, 1);
  ASSERT_TRUE(image->close().has_value());
  report = look();
  const AuditFinding* in_use = find(report, AuditKind::bitmap_in_use);
  ASSERT_NE(in_use, nullptr) << words(report);
  EXPECT_EQ(in_use->subject, "nightly");

  put(offsetof(RawHeader, autoclear_features), 0);
  report = look();
  EXPECT_NE(find(report, AuditKind::bitmaps_left_behind), nullptr) << words(report);
  EXPECT_EQ(find(report, AuditKind::bitmaps), nullptr);
  EXPECT_NE(find(report, AuditKind::leaked_data), nullptr);
}

TEST_F(AuditKinds, TellsWhatCannotBeRead) {
  make(small());
  sim::FaultPlan plan;
  sim::FaultRule rule;
  rule.tag = IoTag::l2;
  rule.from_then_on = true;
  plan.add(rule);
  auto file = std::make_unique<sim::FaultyStorage>(
      std::move(*open_file(*engine_, path_, FileOptions())), plan);
  const Result<AuditReport> report = audit(std::move(file));
  ASSERT_TRUE(report.has_value()) << describe(report.error());
  const AuditFinding* found = find(*report, AuditKind::unreadable);
  ASSERT_NE(found, nullptr) << words(*report);
  EXPECT_EQ(found->reason, Corruption::l2_table_unreadable);
  EXPECT_EQ(found->offset, l2(0));
  EXPECT_NE(report->damages, 0u);
}

// --- nothing above a note in what nobody has touched

TEST_F(AuditKinds, NothingInWhatVarveMakes) {
  const auto expect_nothing = [this](const char* what) {
    const AuditReport report = look();
    EXPECT_EQ(report.damages + report.suspicious, 0u) << what << "\n" << words(report);
  };
  for (const std::uint32_t cluster_bytes : {512u, 4096u, 65536u, 2097152u}) {
    for (const std::uint32_t version : {2u, 3u}) {
      path_ = folder_.file(std::to_string(cluster_bytes) + "-" + std::to_string(version));
      make_with([&](CreateOptions& options) {
        options.cluster_bytes = cluster_bytes;
        options.version = version;
        options.size_bytes = 64 * kMiB;
      });
      expect_nothing("fresh");
      add_snapshot("one");
      auto image = open(true);
      write(*image, 2, 5);
      ASSERT_TRUE(image->discard(0, cluster_).has_value());
      ASSERT_TRUE(image->close().has_value());
      add_snapshot("two");
      expect_nothing("used");
      image = open(true);
      ASSERT_TRUE(delete_snapshot(*image, 1).has_value());
      ASSERT_TRUE(apply_snapshot(*image, 0).has_value());
      ASSERT_TRUE(delete_snapshot(*image, 0).has_value());
      ASSERT_TRUE(image->close().has_value());
      // What was given back at the very end looks like what somebody has put there.
      const AuditReport report = look();
      EXPECT_EQ(report.damages, 0u) << words(report);
      EXPECT_EQ(report.suspicious, find(report, AuditKind::data_after_end) != nullptr ? 1u : 0u)
          << words(report);
    }
  }
}

TEST_F(AuditKinds, NothingInWhatQemuMakes) {
  VARVE_NEED_QEMU_IMG();
  const char* const scripts[] = {
      "qemu-img create -f qcow2 disk.qcow2 1G",
      "qemu-img create -f qcow2 disk.qcow2 1T",
      "qemu-img create -f qcow2 -o compat=0.10 disk.qcow2 64M && qemu-io -c 'write 1M 3M' "
      "disk.qcow2",
      "qemu-img create -f qcow2 -o preallocation=metadata,lazy_refcounts=on disk.qcow2 64M && "
      "qemu-io -c 'write 1M 3M' disk.qcow2",
      "qemu-img create -f qcow2 -o extended_l2=on,cluster_size=128k disk.qcow2 64M && qemu-io -c "
      "'write 1M 3M' -c 'discard 1M 64k' disk.qcow2",
      "seq 1 400000 >raw && qemu-img convert -O qcow2 -o compression_type=zstd -c raw disk.qcow2",
      "qemu-img create -f qcow2 disk.qcow2 64M && qemu-io -c 'write 1M 3M' disk.qcow2 && qemu-img "
      "snapshot -c a disk.qcow2 && qemu-io -c 'write 2M 4M' disk.qcow2 && qemu-img snapshot -c b "
      "disk.qcow2 && qemu-img snapshot -a a disk.qcow2 && qemu-img resize disk.qcow2 128M",
  };
  for (const char* const script : scripts) {
    SCOPED_TRACE(script);
    ASSERT_TRUE(folder_.run(std::string("rm -f disk.qcow2; ") + script));
    const AuditReport report = look();
    EXPECT_EQ(report.damages + report.suspicious, 0u) << words(report);
  }
}

}  // namespace
}  // namespace varve::test
