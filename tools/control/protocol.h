// The control protocol of a running export: one JSON object per line, a command and its answer.
// docs/NBD.md is its page. Bytes to values and back, without I/O; both ends use it.
//
// Threads: any; plain values. What comes from the other side gives a Problem, never an exception.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <varve/error.h>
#include <varve/snapshot.h>

namespace varve::control {

// A line without its end; longer ones are refused unread. Names have at most 65,535 bytes, and
// nobody's are that long.
inline constexpr std::size_t kCommandBytesMax = 16384;

enum class Verb : std::uint8_t { create, apply, remove, list, status };

struct Command {
  Verb verb = Verb::status;
  std::string snapshot;  // create: the new one's name; apply, remove: its name, id or UUID.
  bool operator==(const Command&) const = default;
};

// Why something was not done. `code` is a word of ErrorCode's.
struct Problem {
  std::string code;
  std::string message;
  bool operator==(const Problem&) const = default;
};

// A snapshot, as list tells it.
struct Listed {
  std::string id;
  std::string name;
  std::string uuid;    // Empty: another program made it.
  std::string parent;  // Its UUID; empty: none, or not known.
  std::uint64_t date_seconds = 0;
  std::uint64_t disk_bytes = 0;
  std::uint64_t state_bytes = 0;
  bool operator==(const Listed&) const = default;
};

struct Status {
  std::string file;
  std::uint64_t disk_bytes = 0;
  std::uint64_t file_bytes = 0;
  std::uint64_t snapshots = 0;
  std::uint64_t clients = 0;  // Connections that are open, or have requests under way still.
  std::uint64_t reads = 0;    // Of guest data, from the file.
  std::uint64_t writes = 0;   // Of guest data, to the file.
  std::uint64_t flushes = 0;
  std::string operation;  // "create", "apply", "delete"; empty: none is under way.
  std::uint64_t clusters_done = 0;
  std::uint64_t clusters_total = 0;
  bool operator==(const Status&) const = default;
};

// create, apply and remove. Times in nanoseconds.
struct Done {
  std::string id;    // create.
  std::string uuid;  // create.
  std::uint64_t pause = 0;
  std::uint64_t total = 0;
  bool operator==(const Done&) const = default;
};

using Answer = std::variant<Problem, Done, std::vector<Listed>, Status>;

// Lines without their end.
[[nodiscard]] std::variant<Problem, Command> parse_command(std::string_view line) noexcept;
[[nodiscard]] std::string format_command(const Command& command);
[[nodiscard]] Answer parse_answer(std::string_view line) noexcept;
[[nodiscard]] std::string format_answer(const Answer& answer);

// "create", "delete".
[[nodiscard]] const char* verb_name(Verb verb) noexcept;
[[nodiscard]] std::optional<Verb> find_verb(std::string_view name) noexcept;
// Whether the verb speaks of one snapshot.
[[nodiscard]] bool names_a_snapshot(Verb verb) noexcept;

[[nodiscard]] Problem problem_of(const Error& error);
[[nodiscard]] Listed listed_of(const SnapshotInfo& snapshot);

}  // namespace varve::control
