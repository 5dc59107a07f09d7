// A guest read: the range reader, and nothing else.
#pragma once

#include "image/operation.h"
#include "image/range_reader.h"

namespace varve {

class ReadOperation final : public Operation {
 public:
  using Operation::Operation;

 private:
  void advance(const Result<void>& result) noexcept override;
  void recycle() noexcept override;

  RangeReader reader_;
  bool is_started_ = false;
};

}  // namespace varve
