// A guest write: the first write's duties, then the range writer.
#pragma once

#include "image/operation.h"
#include "image/range_writer.h"

namespace varve {

class WriteOperation final : public Operation {
 public:
  using Operation::Operation;

 private:
  enum class Step : std::uint8_t {
    preparing,  // -> writing
    writing,    // -> preparing (of the next request)
  };
  void advance(const Result<void>& result) noexcept override;
  void recycle() noexcept override;

  Step step_ = Step::preparing;
  RangeWriter writer_;
};

}  // namespace varve
