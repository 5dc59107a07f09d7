// Varve's C interface: everything a hypervisor in C, Rust or Go needs. C11; also C++.
//
// What holds for every function, unless its own comment says otherwise:
//
//  * Threads. A handle belongs to the thread that created its engine, as everything made from that
//    engine does. Different threads use different engines; there is no global state.
//  * Blocking. A blocking call runs its engine until it is done: other requests of the engine go on
//    and complete meanwhile. It is refused (VARVE_BUSY) inside a callback of the library's.
//  * Errors. A function that can fail answers a varve_code, VARVE_OK or the kind of failure, and
//    describes it in `error`, which may be NULL. What it would have written to is then untouched.
//    Nothing throws, nothing aborts for what a caller, a file or a system did. NULL where a handle
//    is required is VARVE_INVALID_ARGUMENT; to close NULL does nothing.
//  * Memory. Handles are the library's, and freed by their own close function. What a caller passes
//    stays the caller's; texts and options are copied before the call returns. Buffers need no
//    alignment; on O_DIRECT files those aligned to the device's blocks save a copy.
//  * Texts are UTF-8 or whatever bytes the system uses for paths, ended by a zero byte.
//  * Units. Sizes and offsets are bytes, times nanoseconds, unless the name says otherwise.
//  * Structs with `size` as first member: set it to sizeof, and everything not used to zero; zero
//    always means the default. A shorter (older) one gets defaults for the rest. A longer (newer)
//    one is refused as VARVE_UNSUPPORTED, by its name, if what this library does not know of is not
//    zero. Of structs the library fills, it fills what fits into `size`, and zeros what it does not
//    know.
//  * Flags this library does not know are refused as VARVE_UNSUPPORTED.
//  * fork. Handles stay with the parent. In the child every function answers VARVE_INVALID_ARGUMENT
//    (numbers: 0) and touches nothing, close functions included. Descriptors close on exec; an
//    image's locks are the open file's, so they last until the child has ended or called exec, too.
//    Fork from any thread, at any time.
//
// Signals. No function is for signal handlers.
#pragma once

#include <varve/c/base.h>
#include <varve/c/check.h>
#include <varve/c/convert.h>
#include <varve/c/diff.h>
#include <varve/c/engine.h>
#include <varve/c/error.h>
#include <varve/c/group.h>
#include <varve/c/image.h>
#include <varve/c/operation.h>
#include <varve/c/queue.h>
#include <varve/c/snapshot.h>
#include <varve/c/state.h>
#include <varve/c/statistics.h>
#include <varve/c/storage.h>
