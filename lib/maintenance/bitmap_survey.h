// Whether other programs' bitmaps still stand where they say: a bitmap whose clusters are somebody
// else's too, or whose tables break a rule, may miss changes and says it does not. Straight-line
// code that runs the engine.
#pragma once

#include <optional>
#include <vector>

#include <varve/check.h>
#include <varve/result.h>

#include "meta/cluster_store.h"
#include "meta/metadata.h"

namespace varve {

class BitmapSurvey {
 public:
  explicit BitmapSurvey(Metadata& metadata) noexcept : metadata_(&metadata) {}

  // What is lost with the bitmaps, one by one, when any of them is damaged; nothing otherwise.
  // Errors: io, no_memory.
  Result<std::vector<Loss>> run();

 private:
  Result<void> survey();
  [[nodiscard]] bool is_shared(ClusterRun run) const noexcept;
  void damaged(Corruption reason) noexcept;
  Result<std::vector<Loss>> name_all();

  Metadata* metadata_;
  std::vector<ClusterRun> own_;     // In the order of the file.
  std::vector<ClusterRun> others_;  // Of the other tables.
  std::optional<Corruption> reason_;
};

}  // namespace varve
