// Goal: an audit tells where things stand, how many there are and in whose words, judges what it
// can where an image cannot be opened, keeps within its budget, and tells data in clusters nobody
// refers to apart. Method: one image each, and what the finding must say.
#include <array>
#include <string_view>

#include <sys/inotify.h>
#include <unistd.h>

#include "image/qcow2_image.h"
#include "maintenance/audit_fixture.h"
#include "maintenance/audit_residue.h"
#include "maintenance/check_metadata.h"
#include "sim/faulty_storage.h"

namespace varve::test {
namespace {

class AuditPlaces : public AuditTest {
 protected:
  static void expect_found(const AuditReport& report, AuditKind kind, IoTag table,
                           std::uint64_t offset, std::string_view subject = {}) {
    const AuditFinding* found = find(report, kind);
    ASSERT_NE(found, nullptr) << audit_kind_name(kind) << "\n" << words(report);
    EXPECT_EQ(found->table, table) << words(report);
    EXPECT_EQ(found->offset, offset) << words(report);
    EXPECT_EQ(found->subject, subject) << words(report);
  }
  static std::size_t count(const AuditReport& report, AuditKind kind) {
    return static_cast<std::size_t>(std::ranges::count(report.findings, kind, &AuditFinding::kind));
  }
};

TEST_F(AuditPlaces, NamesTheFilesAnImageNames) {
  make_on("/srv/base.qcow2");
  const AuditReport report = look();
  const std::uint64_t name = get(offsetof(RawHeader, backing_name_offset));
  expect_found(report, AuditKind::backing_file, IoTag::header, name, "/srv/base.qcow2");
  expect_found(report, AuditKind::path_outside_folder, IoTag::header, name, "/srv/base.qcow2");
  EXPECT_EQ(count(report, AuditKind::backing_format_missing), 0u);
  EXPECT_EQ(report.suspicious, 2u) << words(report);
}

TEST_F(AuditPlaces, TakesAPathWithAColonForAPath) {
  make_on("./a:b/base.qcow2");
  EXPECT_EQ(count(look(), AuditKind::protocol_name), 0u);
  make_on("a..b/..c/base");
  EXPECT_EQ(count(look(), AuditKind::path_outside_folder), 0u);
  make_on("json:{\"driver\":\"null-co\"}", "raw");
  EXPECT_EQ(count(look(), AuditKind::protocol_name), 1u);
}

TEST_F(AuditPlaces, TellsTurnedTextFromLetters) {
  for (const char* const odd : {"a\xe2\x80\xae"
                                "b",
                                "a\xc2\x9b"
                                "b",
                                "a\x7f", "\xe2\x81\xa6"}) {
    make_on(odd);
    EXPECT_EQ(count(look(), AuditKind::odd_characters), 1u) << odd;
  }
  for (const char* const plain : {"gr\xc3\xbc\xc3\x9f"
                                  "e",
                                  "\xe2\x80\x9cq\xe2\x80\x9d", "\xe2\x82\xac"}) {
    make_on(plain);
    EXPECT_EQ(count(look(), AuditKind::odd_characters), 0u) << plain;
  }
}

TEST_F(AuditPlaces, NamesUnknownFeaturesAsTheImageDoes) {
  make(small());
  Header changed = header();
  HeaderExtension& names =
      *std::ranges::find(changed.extensions, kExtensionFeatureNames, &HeaderExtension::type);
  std::vector<std::byte> entry(48);
  entry[0] = static_cast<std::byte>(FeatureName::Kind::incompatible);
  entry[1] = std::byte{7};
  std::ranges::transform(std::string_view("flux capacitor"), entry.begin() + 2,
                         [](char character) { return static_cast<std::byte>(character); });
  names.data.insert(names.data.end(), entry.begin(), entry.end());
  changed.incompatible |= 1u << 7;
  put_header(changed);
  const AuditReport report = look();
  expect_found(report, AuditKind::unknown_feature, IoTag::header,
               offsetof(RawHeader, incompatible_features), "flux capacitor");
  EXPECT_EQ(count(report, AuditKind::not_judged), 1u) << words(report);
  EXPECT_EQ(report.damages, 0u);
}

// What it names is told although nobody could open it.
TEST_F(AuditPlaces, TellsOfADamagedHeaderWhatItNames) {
  make_on("../base.qcow2");
  put(offsetof(RawHeader, l1_offset), 12345);
  const AuditReport report = look();
  const AuditFinding* broken = find(report, AuditKind::broken_rule);
  ASSERT_NE(broken, nullptr) << words(report);
  EXPECT_EQ(broken->reason, Corruption::l1_offset_unaligned);
  EXPECT_EQ(broken->offset, offsetof(RawHeader, l1_offset));
  EXPECT_EQ(count(report, AuditKind::not_judged), 1u);
  EXPECT_EQ(count(report, AuditKind::backing_file), 1u);
  EXPECT_EQ(count(report, AuditKind::path_outside_folder), 1u);
}

TEST_F(AuditPlaces, SurvivesEveryHeaderField) {
  make_on("base.qcow2");
  const std::vector<std::byte> good = read_bytes(path_, 0, cluster_);
  for (const Field& field : kHeaderFields) {
    for (const std::byte value : {std::byte{0}, std::byte{0x7f}, std::byte{0xff}}) {
      patch_bytes(path_, 0, good);
      patch_bytes(path_, field.offset, std::vector<std::byte>(field.size, value));
      const Result<AuditReport> report = try_audit();
      EXPECT_TRUE(report.has_value() || report.error().corruption == Corruption::bad_magic ||
                  report.error().code == ErrorCode::unsupported)
          << field.name << describe(report.error());
    }
  }
}

TEST_F(AuditPlaces, LooksBetweenThePiecesOfTheFirstCluster) {
  make_on("base");
  const std::uint64_t name = get(offsetof(RawHeader, backing_name_offset));
  EXPECT_EQ(count(look(), AuditKind::hidden_header_bytes), 0u);
  // The padding of the backing format, and the byte behind the name.
  const std::uint64_t format = get(112, 4) == kExtensionBackingFormat ? 112 : 0;
  ASSERT_NE(format, 0u);
  put(format + 8 + 7, 0x55, 1);
  put(name + 4, 0x55, 1);
  const AuditReport report = look();
  expect_found(report, AuditKind::hidden_header_bytes, IoTag::header, format + 8 + 7);
  EXPECT_EQ(find(report, AuditKind::hidden_header_bytes)->count, 2u);
}

TEST_F(AuditPlaces, TellsDataNobodyRefersToApart) {
  make(small());
  const std::uint64_t dropped = host(2);
  put(l2(2), 0);
  put(count_of(dropped), 0, 2);
  const std::uint64_t end = std::filesystem::file_size(path_);
  // Counted and full, counted and empty, free and full, half a cluster at the very end.
  std::filesystem::resize_file(path_, end + 4 * cluster_ + 700);
  put(count_of(end), 1, 2);
  put(end + 5, 1, 1);
  put(count_of(end + cluster_), 1, 2);
  put(end + 2 * cluster_, 1, 1);
  put(end + 4 * cluster_ + 699, 1, 1);
  const AuditReport report = look();
  expect_found(report, AuditKind::deleted_data, IoTag::none, dropped);
  expect_found(report, AuditKind::leaked_data, IoTag::none, end);
  expect_found(report, AuditKind::data_after_end, IoTag::none, end + 2 * cluster_);
  EXPECT_EQ(find(report, AuditKind::deleted_data)->count, 1u);
  EXPECT_EQ(find(report, AuditKind::leaked_data)->count, 1u);
  EXPECT_EQ(find(report, AuditKind::data_after_end)->count, 2u);
  EXPECT_EQ(find(report, AuditKind::leaked_clusters)->count, 2u);
}

// The last cluster of a window is free, and something in use comes behind it.
TEST_F(AuditPlaces, TellsTheSameWhateverTheWindow) {
  make(small(512));
  auto image = open(true);
  const std::vector<std::byte> bytes(4 * kMiB, std::byte{0x33});
  ASSERT_TRUE(image->write(8 * kMiB, bytes).has_value());
  ASSERT_TRUE(image->close().has_value());
  constexpr std::uint64_t kLastOfWindow = 4095;
  constexpr std::uint64_t kTableDisk = 64 * 512;
  bool is_dropped = false;
  for (std::uint64_t at = 8 * kMiB; at < 12 * kMiB; at += kTableDisk) {
    const std::uint64_t table = get(l1(at / kTableDisk)) & kOffset;
    const std::vector<std::byte> entries = read_bytes(path_, table, 512);
    for (std::uint64_t i = 0; i < entries.size(); i += 8) {
      if ((load_be<std::uint64_t>(entries, i) & kOffset) == kLastOfWindow * 512) {
        put(table + i, 0);
        is_dropped = true;
      }
    }
  }
  ASSERT_TRUE(is_dropped);
  put(get(refcount_table() + kLastOfWindow / 256 * 8) + kLastOfWindow % 256 * 2, 0, 2);
  const std::uint64_t end = std::filesystem::file_size(path_);
  std::filesystem::resize_file(path_, end + 10 * cluster_);
  put(end + 9 * cluster_, 1);

  image = open(false);
  Metadata& metadata = dynamic_cast<Qcow2Image&>(image->core()).metadata();
  AuditResidue whole(metadata);
  AuditResidue parts(metadata);
  CheckOptions options;
  ASSERT_TRUE(whole.prepare().has_value() && parts.prepare().has_value());
  ASSERT_TRUE(check_metadata(metadata, options, &whole).has_value());
  options.memory_bytes = 1;
  ASSERT_TRUE(check_metadata(metadata, options, &parts).has_value());
  EXPECT_GT(whole.deleted().count, 0u);
  for (const AuditResidue* residue : {&whole, &parts}) {
    EXPECT_EQ(residue->deleted().count, whole.deleted().count);
    EXPECT_EQ(residue->deleted().first, whole.deleted().first);
    EXPECT_EQ(residue->behind_end().count, 1u);
    EXPECT_EQ(residue->behind_end().first, end + 9 * cluster_);
    EXPECT_EQ(residue->leaked().count, 0u);
  }
  EXPECT_TRUE(image->close().has_value());
}

TEST_F(AuditPlaces, TellsWhatIsMappedBehindTheDisk) {
  make(small());
  put(offsetof(RawHeader, virtual_size), 4 * cluster_ + 512);
  const AuditReport report = look();
  expect_found(report, AuditKind::data_beyond_disk, IoTag::l2, l2(5));
  EXPECT_EQ(find(report, AuditKind::data_beyond_disk)->count, 2u);
  put(offsetof(RawHeader, virtual_size), 8 * cluster_ + 512);
  EXPECT_EQ(count(look(), AuditKind::data_beyond_disk), 0u);
}

// What opening it for writing would put right is no damage; what it would not is.
TEST_F(AuditPlaces, WrongCountsOfADirtyImageAreNoDamage) {
  make(small());
  put(l2(3), get(l2(3)) & ~kCopied);
  put(count_of(host(4)), 0, 2);
  EXPECT_EQ(look().damages, 3u);
  set_bits(offsetof(RawHeader, incompatible_features), kIncompatibleDirty);
  AuditReport report = look();
  EXPECT_EQ(report.damages, 0u) << words(report);
  EXPECT_EQ(report.left_out, 0u);
  ASSERT_NE(find(report, AuditKind::unsettled_counts), nullptr);
  EXPECT_EQ(find(report, AuditKind::unsettled_counts)->count, 3u);
  put(l2(5), get(l2(5)) + (std::uint64_t{1} << 40));
  report = look();
  EXPECT_EQ(report.damages, 1u) << words(report);
  EXPECT_EQ(report.findings.front().reason, Corruption::cluster_beyond_end_of_file);
}

TEST_F(AuditPlaces, KeepsAFewOfEachAndCountsTheRest) {
  make(small());
  for (std::uint64_t i = 0; i < 6; ++i) {
    put(l2(i), get(l2(i)) & ~kCopied);
  }
  AuditOptions options;
  options.findings_max = 2;
  const AuditReport report = look(options);
  EXPECT_EQ(count(report, AuditKind::mismatch), 2u);
  EXPECT_EQ(report.damages, 6u);
  EXPECT_EQ(report.left_out, 4u);
}

TEST_F(AuditPlaces, EndsWhereTheBudgetDoesWithWhatItHasFound) {
  make_on("base.qcow2");
  AuditOptions options;
  options.budget = Budget::standard();
  options.budget->steps = 10;
  const Result<AuditReport> report = try_audit(options);
  ASSERT_TRUE(report.has_value()) << describe(report.error());
  ASSERT_TRUE(report->stopped.has_value());
  EXPECT_EQ(report->stopped->code, ErrorCode::over_budget);
  EXPECT_EQ(count(*report, AuditKind::backing_file), 1u);
}

TEST_F(AuditPlaces, NoReadFailsUnheard) {
  make(small());
  add_snapshot("one");
  const std::uint64_t end = std::filesystem::file_size(path_);
  std::filesystem::resize_file(path_, end + cluster_);
  put(end + 100, 0x1234);
  std::uint64_t index = 0;
  for (sim::FaultPlan plan; index == 0 || plan.hits() != 0; ++index) {
    plan.lift();
    plan.reset_counts();
    sim::FaultRule rule;
    rule.nth = index;
    rule.from_then_on = true;
    plan.add(rule);
    const Result<AuditReport> report = audit(std::make_unique<sim::FaultyStorage>(
        std::move(*open_file(*engine_, path_, FileOptions())), plan));
    if (plan.hits() != 0 && report) {
      EXPECT_TRUE(report->stopped.has_value() || count(*report, AuditKind::unreadable) != 0)
          << index << "\n"
          << words(*report);
    }
  }
  EXPECT_GT(index, 8u);
}

TEST_F(AuditPlaces, RefusesWhatIsNoQcow2AndWhatIsCancelled) {
  write_bytes(path_, std::vector<std::byte>(4096, std::byte{0x42}));
  EXPECT_EQ(try_audit().error().corruption, Corruption::bad_magic);
  make(small());
  std::atomic<bool> cancel = true;
  AuditOptions options;
  options.cancel = &cancel;
  EXPECT_EQ(try_audit(options).error().code, ErrorCode::cancelled);
}

TEST_F(AuditPlaces, OpensNoOtherFileAndChangesNothing) {
  const std::string named = folder_.file("named");
  const int watch = ::inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  ASSERT_GE(watch, 0);
  const auto was_opened = [&] {
    std::array<std::byte, 4096> events;
    return ::read(watch, events.data(), events.size()) > 0;
  };
  const std::function<void()> makers[] = {
      [&] {
        write_bytes(named, std::vector<std::byte>(512));
        make_on(named, "raw");
      },
      [&] { make_with([&](CreateOptions& options) { options.data_file_name = named; }); }};
  for (const std::function<void()>& make_one : makers) {
    make_one();
    const std::vector<std::byte> before = read_bytes(path_, 0, 1u << 20);
    ASSERT_GE(::inotify_add_watch(watch, named.c_str(), IN_OPEN), 0);
    while (was_opened()) {
    }
    EXPECT_EQ(look().suspicious, 2u);
    EXPECT_FALSE(was_opened());
    EXPECT_EQ(read_bytes(path_, 0, 1u << 20), before);
    (void)read_bytes(named, 0, 1);
    EXPECT_TRUE(was_opened());
  }
  ::close(watch);
}

}  // namespace
}  // namespace varve::test
