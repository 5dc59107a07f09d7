#include "judge.h"

#include "model/reference_qcow2.h"

namespace varve::fuzz {

bool can_be_judged(World& world) {
  return !world.has_data_file() && world.disk().content.size() <= kJudgedFileBytesMax;
}

std::uint64_t expect_whole(World& world, const std::string& said) {
  std::string why;
  const auto reference = model::ReferenceQcow2::open(world.disk().content, why);
  must(reference.has_value(), said + "the reference cannot open it: " + why);
  const model::ReferenceReport judged = reference->check();
  must(judged.corruptions.empty() && judged.mismatches.empty(),
       said + "the reference finds " + judged.text());
  return judged.leaks;
}

std::string text_of(const CheckReport& report) {
  std::string text = std::to_string(report.leaks) + " leaks, " +
                     std::to_string(report.corruptions) + " corruptions, " +
                     std::to_string(report.failures) + " failures";
  for (const Finding& finding : report.findings) {
    text += std::string("; ") + corruption_name(finding.reason) + " in " +
            io_tag_name(finding.table) + " at " + std::to_string(finding.offset);
  }
  return text;
}

}  // namespace varve::fuzz
