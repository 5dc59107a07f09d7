// Asking meta from straight-line code: needs are satisfied by running the engine. Not inside a
// completion.
#pragma once

#include <type_traits>
#include <utility>

#include "base/try.h"
#include "meta/blocking_waiter.h"
#include "meta/metadata.h"

namespace varve {

// Asks until there is a value or an error.
template <class Question>
auto ask_until(Metadata& metadata, Question&& question) noexcept
    -> Result<std::remove_reference_t<decltype(*question())>> {
  BlockingWaiter waiter(metadata.file->engine());
  while (true) {
    auto answer = question();
    if (const Need* need = answer.need()) {
      metadata.satisfy(*need, waiter);
      VARVE_TRY(waiter.wait());
    } else if (const Error* error = answer.error()) {
      return *error;
    } else {
      return std::move(*answer);
    }
  }
}

}  // namespace varve
