// Goal: numbers and texts are those of the reference pages. Method: every code with its text is
// printed and compared with golden/codes.txt; ranges are printed at both ends and inside.
// VARVE_UPDATE_GOLDEN=1 rewrites the file, for a reviewer to look at.
#include <cstdlib>
#include <fstream>
#include <sstream>

#include <gtest/gtest.h>
#include <varve/service_codes.h>

namespace varve {
namespace {

constexpr std::uint16_t kNumbers[] = {0,     1,     2,     3,     4,     5,     6,     7,     8,
                                      9,     10,    11,    12,    13,    70,    71,    72,    73,
                                      74,    197,   198,   199,   4095,  4096,  4097,  4098,  4099,
                                      4100,  32767, 32768, 32769, 32770, 32771, 32772, 32773, 32774,
                                      32775, 32776, 32777, 32778, 32779, 65535};

template <class Text>
void print(std::ostream& out, const char* title, Text&& text_of) {
  out << title << '\n';
  for (const std::uint16_t number : kNumbers) {
    const std::string text = text_of(number);
    if (text != "not in the value map") {
      out << "  " << number << ' ' << text << '\n';
    }
  }
}

std::string all_codes() {
  std::ostringstream out;
  print(out, "family A", method_code_text);
  print(out, "family B", virtualization_code_text);
  print(out, "SnapshotType of a virtual system", virtual_system_snapshot_type_text);
  print(out, "SnapshotType of a collection", collection_snapshot_type_text);
  print(out, "EnabledState", enabled_state_text);
  print(out, "UserSnapshotType", user_snapshot_type_text);
  const auto as_byte = [](auto text_of) {
    return [text_of](std::uint16_t number) {
      return number < 256 ? text_of(static_cast<std::uint8_t>(number)) : "not in the value map";
    };
  };
  print(out, "ConsistencyLevel", as_byte(consistency_level_text));
  print(out, "GuestBackupType", as_byte(guest_backup_type_text));
  print(out, "JobState", job_state_text);
  print(out, "JobType", job_type_text);
  print(out, "RequestStateChange of a job", job_request_code_text);
  print(out, "GetErrorEx of a job", job_error_code_text);
  return out.str();
}

TEST(Codes, HaveTheirTexts) {
  const std::string path = VARVE_SERVICE_GOLDEN "/codes.txt";
  if (std::getenv("VARVE_UPDATE_GOLDEN") != nullptr) {
    std::ofstream(path) << all_codes();
  }
  std::ifstream file(path);
  std::stringstream golden;
  golden << file.rdbuf();
  EXPECT_EQ(all_codes(), golden.str());
}

TEST(Codes, EverySixteenBitNumberHasAText) {
  for (std::uint32_t number = 0; number <= 0xffff; ++number) {
    const auto code = static_cast<std::uint16_t>(number);
    for (const char* text :
         {method_code_text(number), virtualization_code_text(number),
          virtual_system_snapshot_type_text(code), collection_snapshot_type_text(code),
          enabled_state_text(code), job_state_text(code), job_type_text(code),
          job_request_code_text(number), job_error_code_text(number)}) {
      ASSERT_NE(text, nullptr);
      ASSERT_STRNE(text, "");
    }
  }
}

TEST(Codes, TwoMeansFullHereAndRecoveryThere) {
  EXPECT_EQ(static_cast<int>(VirtualSystemSnapshotType::full), 2);
  EXPECT_EQ(static_cast<int>(CollectionSnapshotType::recovery), 2);
}

TEST(Codes, FamiliesAgree) {
  const std::pair<MethodCode, VirtualizationCode> pairs[] = {
      {MethodCode::completed, VirtualizationCode::completed},
      {MethodCode::not_supported, VirtualizationCode::not_supported},
      {MethodCode::failed, VirtualizationCode::failed},
      {MethodCode::timeout, VirtualizationCode::timeout},
      {MethodCode::invalid_parameter, VirtualizationCode::invalid_parameter},
      {MethodCode::invalid_state, VirtualizationCode::invalid_state},
      {MethodCode::invalid_type, VirtualizationCode::incorrect_data_type},
      {MethodCode::job_started, VirtualizationCode::job_started},
  };
  for (const auto& [method, virtualization] : pairs) {
    EXPECT_EQ(virtualization_code_of(method), virtualization);
  }
}

TEST(Codes, ErrorsOfTheWorkAreFailures) {
  for (int code = 0; code <= static_cast<int>(ErrorCode::over_budget); ++code) {
    Error error;
    error.code = static_cast<ErrorCode>(code);
    MethodCode method = MethodCode::failed;
    VirtualizationCode virtualization = VirtualizationCode::failed;
    if (error.code == ErrorCode::timed_out) {
      method = MethodCode::timeout;
      virtualization = VirtualizationCode::timeout;
    } else if (error.code == ErrorCode::unsupported) {
      method = MethodCode::not_supported;
      virtualization = VirtualizationCode::not_supported;
    } else if (error.code == ErrorCode::busy) {
      method = MethodCode::invalid_state;
      virtualization = VirtualizationCode::system_in_use;
    } else if (error.code == ErrorCode::no_memory) {
      virtualization = VirtualizationCode::out_of_memory;
    }
    EXPECT_EQ(method_code_of(error), method) << code;
    EXPECT_EQ(virtualization_code_of(error), virtualization) << code;
  }
}

}  // namespace
}  // namespace varve
