// A guest flush: joins the next flush round. Also carries requests that are answered without any
// work.
#pragma once

#include "image/operation.h"

namespace varve {

class FlushOperation final : public Operation {
 public:
  using Operation::Operation;
  // What the request is answered with instead of a flush.
  void answer_with(const Result<void>& result) noexcept { answer_ = {true, result}; }

 private:
  struct FixedAnswer {
    bool is_set = false;
    Result<void> result;
  };
  void advance(const Result<void>& result) noexcept override;
  void recycle() noexcept override;

  FixedAnswer answer_;
  bool is_flushing_ = false;
};

}  // namespace varve
