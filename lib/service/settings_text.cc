#include "service/settings_text.h"

#include <algorithm>
#include <charconv>
#include <span>

#include "service/ascii.h"
#include "service/cim_xml.h"
#include "service/stored_settings.h"
#include "service/utf8.h"

namespace varve {
namespace {

enum class CimType : std::uint8_t { text, uint8, uint16, uint32, uint64, boolean, datetime };

// What the service does with a property's value.
enum class Meaning : std::uint8_t {
  none,  // Of the class, and of no use here: its type is checked, its value dropped.
  element_name,
  notes,
  consistency_level,
  guest_backup_type,
  ignore_disks,
};

struct PropertyRule {
  std::string_view name;
  CimType type = CimType::text;
  bool is_array = false;
  std::uint64_t first = 0;  // Of the value map; numbers only.
  std::uint64_t last = ~std::uint64_t{0};
  Meaning meaning = Meaning::none;
};

// CIM_SettingData.
constexpr PropertyRule kSettingData[] = {
    {"InstanceID"},
    {"Caption"},
    {"Description"},
    {"ElementName", CimType::text, false, 0, 0, Meaning::element_name},
};

constexpr PropertyRule kSnapshotSettingData[] = {
    {"ConsistencyLevel", CimType::uint8, false, 0, 2, Meaning::consistency_level},
    {"GuestBackupType", CimType::uint8, false, 0, 2, Meaning::guest_backup_type},
    {"IgnoreNonSnapshottableDisks", CimType::boolean, false, 0, 0, Meaning::ignore_disks},
};

constexpr PropertyRule kSystemSettingData[] = {
    {"Notes", CimType::text, true, 0, 0, Meaning::notes},
    {"VirtualSystemIdentifier"},
    {"VirtualSystemType"},
    {"VirtualSystemSubType"},
    {"CreationTime", CimType::datetime},
    {"ConfigurationID"},
    {"ConfigurationDataRoot"},
    {"ConfigurationFile"},
    {"SnapshotDataRoot"},
    {"SuspendDataRoot"},
    {"SwapFileDataRoot"},
    {"LogDataRoot"},
    {"GuestStateDataRoot"},
    {"GuestStateFile"},
    {"RecoveryFile"},
    {"AutomaticStartupAction", CimType::uint16},
    {"AutomaticStartupActionDelay", CimType::datetime},
    {"AutomaticStartupActionSequenceNumber", CimType::uint16},
    {"AutomaticShutdownAction", CimType::uint16},
    {"AutomaticRecoveryAction", CimType::uint16},
    {"AutomaticCriticalErrorAction", CimType::uint16},
    {"AutomaticCriticalErrorActionTimeout", CimType::datetime},
    {"AutomaticSnapshotsEnabled", CimType::boolean},
    {"IsAutomaticSnapshot", CimType::boolean},
    {"IsSaved", CimType::boolean},
    {"IncrementalBackupEnabled", CimType::boolean},
    {"UserSnapshotType", CimType::uint16, false, 2, 5},
    {"Parent"},
    {"ParentPackage"},
    {"BIOSGUID"},
    {"BIOSSerialNumber"},
    {"BIOSNumLock", CimType::boolean},
    {"BaseBoardSerialNumber"},
    {"ChassisSerialNumber"},
    {"ChassisAssetTag"},
    {"Architecture"},
    {"AdditionalRecoveryInformation"},
    {"AllowFullSCSICommandSet", CimType::boolean},
    {"AllowReducedFcRedundancy", CimType::boolean},
    {"BootOrder", CimType::uint16, true},
    {"BootSourceOrder", CimType::text, true},
    {"ConsoleMode", CimType::uint16},
    {"DebugChannelId", CimType::uint32},
    {"DebugPort", CimType::uint32},
    {"DebugPortEnabled", CimType::uint16},
    {"EnhancedSessionTransportType", CimType::uint16},
    {"GuestControlledCacheTypes", CimType::boolean},
    {"HighMmioGapBase", CimType::uint64},
    {"HighMmioGapSize", CimType::uint64},
    {"LowMmioGapSize", CimType::uint64},
    {"LockOnDisconnect", CimType::boolean},
    {"NetworkBootPreferredProtocol", CimType::uint16},
    {"PauseAfterBootFailure", CimType::boolean},
    {"SecureBootEnabled", CimType::boolean},
    {"SecureBootTemplateId"},
    {"TurnOffOnGuestRestart", CimType::boolean},
    {"Version"},
    {"VirtualNumaEnabled", CimType::boolean},
};

struct ClassRule {
  std::string_view name;
  std::span<const PropertyRule> own;  // Beside those of CIM_SettingData.
};
constexpr ClassRule kClasses[] = {
    {"Msvm_VirtualSystemSnapshotSettingData", kSnapshotSettingData},
    {"Msvm_VirtualSystemSettingData", kSystemSettingData},
    {"CIM_SettingData", {}},
};

std::string_view type_name(CimType type) noexcept {
  constexpr std::string_view kNames[] = {"string", "uint8",   "uint16",  "uint32",
                                         "uint64", "boolean", "datetime"};
  return kNames[static_cast<std::size_t>(type)];
}

std::uint64_t type_max(CimType type) noexcept {
  switch (type) {
    case CimType::uint8:
      return 0xff;
    case CimType::uint16:
      return 0xffff;
    case CimType::uint32:
      return 0xffffffff;
    default:
      return ~std::uint64_t{0};
  }
}

const PropertyRule* find_rule(std::span<const PropertyRule> rules, std::string_view name) noexcept {
  for (const PropertyRule& rule : rules) {
    if (equal_ignoring_case(rule.name, name)) {
      return &rule;
    }
  }
  return nullptr;
}

// Decimal, or hexadecimal behind "0x", as DSP0201 has them.
std::optional<std::uint64_t> parse_number(std::string_view text) noexcept {
  const bool is_hexadecimal = starts_ignoring_case(text, "0x");
  const std::string_view digits = text.substr(is_hexadecimal ? 2 : 0);
  std::uint64_t value = 0;
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, value, is_hexadecimal ? 16 : 10);
  if (error != std::errc() || stop != end) {
    return std::nullopt;
  }
  return value;
}

std::optional<bool> parse_boolean(std::string_view text) noexcept {
  if (equal_ignoring_case(text, "true")) {
    return true;
  }
  if (equal_ignoring_case(text, "false")) {
    return false;
  }
  return std::nullopt;
}

// "yyyymmddhhmmss.mmmmmmsutc", or an interval "ddddddddhhmmss.mmmmmm:000".
bool is_datetime(std::string_view text) noexcept {
  constexpr std::size_t kDot = 14;
  constexpr std::size_t kSign = 21;
  if (text.size() != 25) {
    return false;
  }
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const bool is_right = i == kDot    ? c == '.'
                          : i == kSign ? c == '+' || c == '-' || c == ':'
                                       : is_digit(c) || c == '*';
    if (!is_right) {
      return false;
    }
  }
  return true;
}

class SettingsReader {
 public:
  explicit SettingsReader(RequestedSettings& settings) noexcept : settings_(&settings) {}

  bool read(const CimInstance& instance) {
    for (const ClassRule& rule : kClasses) {
      if (equal_ignoring_case(rule.name, instance.class_name)) {
        return read_properties(instance, rule);
      }
    }
    return false;
  }

 private:
  bool read_properties(const CimInstance& instance, const ClassRule& rule) {
    std::vector<const PropertyRule*> seen;
    for (const CimProperty& property : instance.properties) {
      const PropertyRule* own = find_rule(rule.own, property.name);
      const PropertyRule* known = own != nullptr ? own : find_rule(kSettingData, property.name);
      if (known == nullptr || std::ranges::find(seen, known) != seen.end() ||
          !read_property(property, *known)) {
        return false;
      }
      seen.push_back(known);
    }
    return true;
  }

  bool read_property(const CimProperty& property, const PropertyRule& rule) {
    if (!equal_ignoring_case(property.type, type_name(rule.type)) ||
        property.is_array != rule.is_array) {
      return false;
    }
    std::size_t bytes = 0;
    for (const std::string& value : property.values) {
      bytes += value.size();
      if (!read_value(value, rule)) {
        return false;
      }
    }
    if (rule.meaning == Meaning::notes) {
      settings_->notes = property.values;
      return bytes <= kNotesBytesMax && property.values.size() <= kNotesCountMax;
    }
    return true;
  }

  bool read_value(const std::string& value, const PropertyRule& rule) {
    switch (rule.type) {
      case CimType::text:
        return read_text(value, rule.meaning);
      case CimType::datetime:
        return is_datetime(value);
      case CimType::boolean: {
        const std::optional<bool> parsed = parse_boolean(value);
        if (parsed && rule.meaning == Meaning::ignore_disks) {
          settings_->ignore_non_snapshottable_disks = *parsed;
        }
        return parsed.has_value();
      }
      default:
        return read_number(value, rule);
    }
  }

  bool read_text(const std::string& value, Meaning meaning) {
    if (meaning != Meaning::element_name || value.empty()) {
      return true;
    }
    settings_->element_name = value;
    return is_element_name(value);
  }

  bool read_number(const std::string& value, const PropertyRule& rule) {
    const std::optional<std::uint64_t> number = parse_number(value);
    if (!number || *number < rule.first || *number > std::min(rule.last, type_max(rule.type))) {
      return false;
    }
    if (rule.meaning == Meaning::consistency_level) {
      settings_->consistency = static_cast<ConsistencyLevel>(*number);
    } else if (rule.meaning == Meaning::guest_backup_type) {
      settings_->guest_backup = static_cast<GuestBackupType>(*number);
    }
    return true;
  }

  RequestedSettings* settings_;
};

}  // namespace

std::optional<RequestedSettings> parse_snapshot_settings(std::optional<std::string_view> text) {
  RequestedSettings settings;
  if (!text || text->empty()) {
    return settings;
  }
  const std::optional<CimInstance> instance = parse_cim_instance(*text);
  if (!instance || !SettingsReader(settings).read(*instance)) {
    return std::nullopt;
  }
  return settings;
}

bool is_element_name(std::string_view name) noexcept {
  const std::optional<std::size_t> characters = count_utf8(name);
  return characters && *characters > 0 && *characters <= kElementNameCharactersMax &&
         name.size() <= kElementNameBytesMax && !is_reserved_name(name) &&
         name.find('\0') == std::string_view::npos;
}

}  // namespace varve
