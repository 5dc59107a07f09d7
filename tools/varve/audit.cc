// varve audit: what a cautious operator wants to know of an image before it is trusted.

#include <varve/audit.h>

#include "json_text.h"
#include "own_verb.h"
#include "printable.h"
#include "progress.h"
#include "verbs.h"

#include <CLI/CLI.hpp>

namespace varve::tool {

namespace {

enum AuditExitCode : int {
  kAuditNothing = 0,
  kAuditFailed = 1,
  kAuditDamage = 2,
  kAuditSuspicious = 3
};

struct AuditRequest {
  std::string image;
  AuditOptions options;
  bool json = false;
  bool no_budget = false;
};

std::string place_words(const AuditFinding& finding) {
  std::string words;
  if (finding.table != IoTag::none) {
    words = fmt::format(" in {}", io_tag_name(finding.table));
  }
  if (finding.offset != Error::kNoOffset) {
    words += fmt::format(" at {:#x}", finding.offset);
  }
  return words;
}

void print_human(const AuditRequest& request, const AuditReport& report) {
  for (const AuditFinding& finding : report.findings) {
    std::string head = audit_kind_name(finding.kind);
    if (*finding.program != '\0') {
      head += fmt::format(" ({})", finding.program);
    }
    if (!finding.subject.empty()) {
      head += fmt::format(" '{}'", printable(finding.subject));
    }
    print("{}: {}{}: {}\n", audit_severity_name(finding.severity), head, place_words(finding),
          printable(finding.message));
  }
  if (report.left_out != 0) {
    print("... and {} more findings of these kinds\n", report.left_out);
  }
  print("{}: {} of damage, {} suspicious, {} notes\n", request.image, report.damages,
        report.suspicious, report.notes);
}

Json finding_json(const AuditFinding& finding) {
  Json node;
  node["severity"] = audit_severity_name(finding.severity);
  node["kind"] = audit_kind_name(finding.kind);
  if (finding.reason != Corruption::none) {
    node["reason"] = corruption_name(finding.reason);
  }
  if (*finding.program != '\0') {
    node["program"] = finding.program;
  }
  if (finding.table != IoTag::none) {
    node["table"] = io_tag_name(finding.table);
  }
  if (finding.offset != Error::kNoOffset) {
    node["offset"] = finding.offset;
  }
  if (!finding.subject.empty()) {
    node["subject"] = finding.subject;
  }
  node["count"] = finding.count;
  node["message"] = finding.message;
  return node;
}

void print_json(const AuditRequest& request, const AuditReport& report) {
  Json findings = Json::array();
  for (const AuditFinding& finding : report.findings) {
    findings.push_back(finding_json(finding));
  }
  Json root;
  root["filename"] = request.image;
  root["version"] = report.version;
  root["cluster-size"] = report.cluster_bytes;
  root["virtual-size"] = report.virtual_size;
  root["file-bytes"] = report.file_bytes;
  root["complete"] = !report.stopped.has_value();
  root["damage"] = report.damages;
  root["suspicious"] = report.suspicious;
  root["notes"] = report.notes;
  root["left-out"] = report.left_out;
  root["findings"] = std::move(findings);
  print("{}\n", format_json(root));
}

int exit_code(const AuditReport& report) {
  if (report.stopped) {
    return kAuditFailed;
  }
  if (report.damages != 0) {
    return kAuditDamage;
  }
  return report.suspicious != 0 ? kAuditSuspicious : kAuditNothing;
}

int audit_image(Context& context, AuditRequest& request) {
  if (context.engine() == nullptr) {
    return kAuditFailed;
  }
  auto file = open_file(*context.engine(), request.image, FileOptions{});
  if (!file) {
    context.error("{}: {}", request.image, describe(file.error()));
    return kAuditFailed;
  }
  catch_interrupts();
  request.options.cancel = &interrupted();
  if (request.no_budget) {
    request.options.budget = std::nullopt;
  }
  const Result<AuditReport> report = audit(std::move(*file), request.options);
  if (!report && report.error().code == ErrorCode::cancelled) {
    exit_by_signal();
  }
  if (!report) {
    context.error("{}: {}", request.image, describe(report.error()));
    return kAuditFailed;
  }
  if (request.json) {
    print_json(request, *report);
  } else {
    print_human(request, *report);
  }
  if (report->stopped) {
    context.error("{}: the audit is not complete: {}", request.image, describe(*report->stopped));
  }
  return exit_code(*report);
}

}  // namespace

int run_audit(Context& context, int argc, char** argv) {
  AuditRequest request;
  CLI::App app(
      "Tell what a cautious operator wants to know of a qcow2 image: files it names, features "
      "that are not known, damage, hidden content, and which other programs would harm it. The "
      "image is only read, and no other file is opened.",
      context.program + " audit");
  app.add_option("image", request.image, "The image")->required();
  app.add_flag("--json", request.json, "Answer as JSON");
  app.add_flag("-U,--force-share", request.options.force_share,
               "Also while another program writes it");
  app.add_flag("--no-budget", request.no_budget, "However much memory and work the image asks for");
  app.footer(
      fmt::format("Exit codes: 0 nothing but notes, 1 error, or not all was looked at, 2 damage, 3 "
                  "something suspicious but no damage.\n\nExamples:\n"
                  "  {0} audit upload.qcow2\n"
                  "  {0} audit --json upload.qcow2",
                  context.program));
  if (const std::optional<int> code = parse_own(context, "audit", app, argc, argv)) {
    return *code;
  }
  return audit_image(context, request);
}

}  // namespace varve::tool
