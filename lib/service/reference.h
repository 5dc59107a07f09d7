// References: WMI object paths as text, and what they name.
//
//   \\HOST\root\virtualization\v2:Msvm_ComputerSystem.CreationClassName="Msvm_ComputerSystem",
//   Name="GUID"
//
// Accepted are also \\.\, paths without host or namespace, / for \, single quotes, keys in any
// order, escaped quotes and backslashes, any letter case and the base classes' names. White space
// outside quotes is not. What is printed is always the full form with the GUID in upper case.
//
// Threads: plain values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <varve/uuid.h>

namespace varve {

// A path taken apart. Host and namespace are empty where the text had none.
struct ObjectPath {
  struct Key {
    std::string name;
    std::string value;
  };
  std::string host;
  std::string name_space;  // With backslashes.
  std::string class_name;
  std::vector<Key> keys;
};

// Longer texts are no references: the longest of ours is below 300 bytes.
inline constexpr std::size_t kReferenceBytesMax = 2048;

[[nodiscard]] std::optional<ObjectPath> parse_object_path(std::string_view text);

enum class ReferenceKind : std::uint8_t {
  system,               // Msvm_ComputerSystem
  setting_data,         // Msvm_VirtualSystemSettingData: a snapshot, or a system's active settings
  job,                  // Msvm_ConcreteJob
  collection,           // Msvm_VirtualSystemCollection
  snapshot_collection,  // Msvm_SnapshotCollection
};

// GUID in upper case, as WMI writes it.
[[nodiscard]] std::string guid_text(const Uuid& id);

class References {
 public:
  explicit References(std::string host) : host_(std::move(host)) {}

  // The canonical full path.
  [[nodiscard]] std::string print(ReferenceKind kind, const Uuid& id) const;
  // The GUID `text` names. Nothing: no reference, of another class, or of another host.
  [[nodiscard]] std::optional<Uuid> parse(ReferenceKind kind,
                                          std::optional<std::string_view> text) const;

 private:
  std::string host_;
};

}  // namespace varve
