// The verbs. Each is one file; argv[0] is the verb's name; the result is the exit code.
#pragma once

#include "context.h"

namespace varve::tool {

// qemu-img's.
int run_bench(Context& context, int argc, char** argv);
int run_check(Context& context, int argc, char** argv);
int run_compare(Context& context, int argc, char** argv);
int run_convert(Context& context, int argc, char** argv);
int run_create(Context& context, int argc, char** argv);
int run_info(Context& context, int argc, char** argv);
int run_map(Context& context, int argc, char** argv);
int run_resize(Context& context, int argc, char** argv);
int run_snapshot(Context& context, int argc, char** argv);

// qemu-io's.
int run_io(Context& context, int argc, char** argv);

// Varve's own.
int run_audit(Context& context, int argc, char** argv);
int run_ctl(Context& context, int argc, char** argv);
int run_inspect(Context& context, int argc, char** argv);
int run_rescue(Context& context, int argc, char** argv);
int run_own_snapshot(Context& context, int argc, char** argv);
int run_version(Context& context, int argc, char** argv);

// Whether `word` is one of run_own_snapshot's actions.
bool is_own_snapshot_action(const char* word);

}  // namespace varve::tool
