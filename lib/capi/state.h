// The handle of a state writer: creation of snapshots needs to see into it.
#pragma once

#include <varve/state.h>

#include "capi/handles.h"

struct varve_state_writer {
  explicit varve_state_writer(varve_image& owner) noexcept : engine(owner.engine), counted(owner) {}
  varve_engine* engine;
  varve::capi::Counted<varve_image> counted;
  std::unique_ptr<varve::StateWriter> writer;
};
