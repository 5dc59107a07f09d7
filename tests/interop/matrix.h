// The matrix of image kinds that Varve and QEMU must agree on: versions, cluster sizes, refcount
// widths and features, the combinations the format allows and those both programs must refuse.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include <varve/create.h>

namespace varve::interop {

enum class Kind : std::uint8_t { plain, backing, extended_l2, data_file, zlib, zstd, lazy };
inline constexpr Kind kKinds[] = {Kind::plain, Kind::backing, Kind::extended_l2, Kind::data_file,
                                  Kind::zlib,  Kind::zstd,    Kind::lazy};

struct Case {
  std::uint32_t version = 3;
  std::uint32_t cluster_bytes = 65536;
  std::uint32_t refcount_bits = 16;
  Kind kind = Kind::plain;

  [[nodiscard]] bool is_compressed() const { return kind == Kind::zlib || kind == Kind::zstd; }
  // Whether internal snapshots are possible: a cluster of theirs is counted twice, in this file.
  [[nodiscard]] bool can_snapshot() const { return refcount_bits > 1 && kind != Kind::data_file; }
  // Not a multiple of the cluster size, so that the last cluster is cut.
  [[nodiscard]] std::uint64_t disk_bytes() const;
  // Shorter than the disk for some cluster sizes, longer for others.
  [[nodiscard]] std::uint64_t backing_bytes() const;
  [[nodiscard]] const char* backing_format() const { return version == 3 ? "qcow2" : "raw"; }
};

// "v3_64K_rc16_extended_l2"
[[nodiscard]] std::string name_of(const Case& example);
void PrintTo(const Case& example, std::ostream* out);

// The options that make a combination illegal, by the words an error must contain one of; empty
// where it is legal.
[[nodiscard]] std::vector<std::string> illegal_options(const Case& example);
[[nodiscard]] std::vector<Case> legal_cases();
[[nodiscard]] std::vector<Case> illegal_cases();

// What is done to an image before the other program looks at it.
enum class Change : std::uint8_t { writes, discards, zeros, growth };
inline constexpr Change kChanges[] = {Change::writes, Change::discards, Change::zeros,
                                      Change::growth};
struct ChangedCase {
  Case example;
  Change change = Change::writes;
};
// "v3_64K_rc16_plain_growth"
[[nodiscard]] std::string name_of(const ChangedCase& changed);
void PrintTo(const ChangedCase& changed, std::ostream* out);

// The matrix dealt out into parts, of which every one holds every version, cluster size, width,
// kind and change, and nearly every pair of them, for so many parts at most; `turn` counts them.
// VARVE_INTEROP_SHARE says into how many cases are dealt (1 unless set); cases with a change are
// many more and dealt into almost twice as many.
constexpr std::size_t kCasePartsMax = 4;
constexpr std::size_t kChangePartsMax = 2 * kCasePartsMax - 1;
[[nodiscard]] std::size_t part_count();
[[nodiscard]] std::vector<Case> part_of_cases(const std::vector<Case>& cases, std::size_t turn,
                                              std::size_t parts = part_count());
[[nodiscard]] std::vector<ChangedCase> part_of_changes(std::size_t turn,
                                                       std::size_t parts = 2 * part_count() - 1);

// The same image in the words of either program. `backing` and `data_file` are names beside it.
[[nodiscard]] CreateOptions create_options(const Case& example, const std::string& backing,
                                           const std::string& data_file);
[[nodiscard]] std::string qemu_options(const Case& example, const std::string& backing,
                                       const std::string& data_file);

}  // namespace varve::interop
