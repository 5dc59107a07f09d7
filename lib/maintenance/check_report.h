// Collecting what a check finds: everything is counted, a bounded number is kept.
#pragma once

#include <varve/check.h>

#include "base/units.h"
#include "format/geometry.h"

namespace varve {

// Wrong counts and COPIED flags: what a dirty image may have, and settling it makes true.
[[nodiscard]] bool is_settled_by_recount(Corruption reason) noexcept;

class CheckFindings {
 public:
  CheckFindings(const Geometry& geometry, std::size_t findings_max)
      : geometry_(geometry), findings_max_(findings_max) {}

  void add(const Finding& finding);
  // What a walk or a validation told: broken rules are corruptions, everything else a place that
  // could not be checked.
  void add(const Error& error);

  [[nodiscard]] CheckReport& report() noexcept { return report_; }

 private:
  Geometry geometry_;
  std::size_t findings_max_;
  CheckReport report_;
};

}  // namespace varve
