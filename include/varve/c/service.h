// The snapshot services in C: Varve's disk and full snapshots behind the methods, codes, references
// and jobs of Hyper-V's snapshot services. docs/FACADE.md has a page per method.
//
// A library of its own, libvarve-service.so: link with -lvarve-service -lvarve. The rules of
// <varve/varve.h> hold here, but for threads. Every image of a service belongs to one thread, its
// work thread:
//  * With an executor it is the thread that runs what `post` was given, and the engine is of that
//    thread. Defining, removing, renaming and, in synchronous mode, the methods are called there
//    too, outside of callbacks.
//  * With VARVE_SERVICE_OWN_THREAD the service starts a thread with an engine of its own. Disks are
//    given by path, and everything may be called from any thread.
// Methods in asynchronous mode, queries and jobs may be called from any thread. Callbacks run on
// the work thread without a lock held; `enabled_state` is asked inside calls and must not call the
// service.
//
// Methods answer the services' own numbers, not a varve_code.
#pragma once

#include <varve/c/base.h>
#include <varve/c/error.h>
#include <varve/c/image.h>

VARVE_C_BEGIN

typedef struct varve_service varve_service;

// An object's path, as methods take and give it; "" stands for NULL. A machine's name of 255 bytes
// leaves room enough for every path.
typedef struct varve_service_path {
  char text[512];
} varve_service_path;

// --- what the embedder supplies ------------------------------------------------------------------

enum {
  VARVE_SERVICE_SYNCHRONOUS = 1,  // Methods answer 0 after the work, without a job.
  VARVE_SERVICE_OWN_THREAD = 2    // Not with an executor.
};

typedef struct varve_service_options {
  size_t size;
  uint32_t flags;         // VARVE_SERVICE_...
  uint32_t backend;       // VARVE_AIO_..., of the service's own thread.
  const char* host_name;  // In paths; at most 255 bytes. NULL: the system's own.
  varve_engine* engine;   // The work thread's, unless the service has a thread of its own.
  // The executor: calls work(argument) once, on the work thread, later; never inside post, and one
  // work at a time. NULL: none.
  void (*post)(void* owner, void (*work)(void* argument), void* argument);
  void* owner;                            // Passed to post and turn.
  uint32_t quiesce_timeout_milliseconds;  // 0: 60,000.
  uint32_t lock_timeout_milliseconds;     // 0: 10,000.
  uint32_t job_retention_seconds;         // At least 300. 0: 300.
  uint32_t reserved;                      // 0.
  // With an executor: work waits for I/O or a lock. Runs the engine, for so long at most, and may
  // serve more of the embedder's loop, but no posted work. NULL: the engine is run alone.
  void (*turn)(void* owner, int timeout_milliseconds);
} varve_service_options;

// Makes both services. Freed by varve_service_close.
// Threads: the work thread's, or any with a thread of its own. Fork: not in the child.
// Errors: VARVE_INVALID_ARGUMENT (executor and own thread, or neither and not synchronous; `turn`
// without `post`; no engine; a short retention; a long name), VARVE_NO_MEMORY, and those of
// varve_engine_create.
VARVE_API varve_code varve_service_create(const varve_service_options* options,
                                          varve_service** service, varve_error* error);

// Cancels the work that runs and frees the services. With an executor no posted work may be left.
// Threads: as create. Fork: not in the child.
VARVE_API varve_code varve_service_close(varve_service* service, varve_error* error);

// Where a provider writes the machine state to, in order; valid inside `save`.
typedef struct varve_state_sink varve_state_sink;
// Threads: the work thread. Fork: not in the child. Errors: those of writing a state.
VARVE_API varve_code varve_service_sink_write(varve_state_sink* sink, const void* data,
                                              size_t length, varve_error* error);
// How much there will be in all, where that is known: PercentComplete follows it.
// Threads: the work thread. Fork: not in the child.
VARVE_API void varve_service_sink_expect(varve_state_sink* sink, uint64_t total_bytes);

// Where a provider reads it back from; valid inside `load`.
typedef struct varve_state_source varve_state_source;
// Threads: the work thread. Fork: not in the child (0).
VARVE_API uint64_t varve_service_source_get_size(const varve_state_source* source);
// Threads: the work thread. Fork: not in the child. Errors: those of reading a state.
VARVE_API varve_code varve_service_source_read(varve_state_source* source, uint64_t offset,
                                               void* target, size_t length, varve_error* error);

// The hypervisor's side of one system. Called on the work thread, and only in this order:
//   a snapshot of a running system: quiesce, (save), resume
//   a full snapshot of a saved one: save
//   apply:                          (quiesce), load; resume only if load failed or was not reached
typedef struct varve_state_provider {
  size_t size;
  void* owner;
  // Stops the guest, flushed as far as `level` (ConsistencyLevel) asks. VARVE_TIMED_OUT: the guest
  // runs on (code 3); others are failures.
  varve_code (*quiesce)(void* owner, uint32_t level, uint32_t timeout_milliseconds);
  void (*resume)(void* owner);  // Undoes quiesce.
  varve_code (*save)(void* owner, varve_state_sink* sink);
  // The disks are those of a snapshot. With a source the system gets that state and ends as `state`
  // (EnabledState) says; with NULL it ends off. After an error the system is as before the call.
  varve_code (*load)(void* owner, varve_state_source* source, uint16_t state);
} varve_state_provider;

// A disk: an open image, which stays open as long as its system is defined, or a path that the
// service opens for the time of each operation, taking the image's lock.
typedef struct varve_service_disk {
  size_t size;
  varve_image* image;  // Of the work thread's engine.
  const char* path;    // With no image.
  // For the path; without WRITABLE the disk has no snapshots. `open_file` and `directory` are not
  // looked at. NULL: qcow2, writable.
  const varve_open_options* options;
  uint32_t is_read_only;  // The image is open for reading only: it has no snapshots.
  uint32_t reserved;      // 0.
} varve_service_disk;

typedef struct varve_service_system {
  size_t size;
  varve_uuid id;             // The system's GUID: its Name.
  const char* element_name;  // NULL: "".
  const varve_service_disk* disks;
  size_t disk_count;
  const varve_state_provider* provider;    // NULL: no full snapshot while running or saved.
  uint16_t (*enabled_state)(void* owner);  // NULL: always off.
  void* owner;                             // Passed to enabled_state.
  uint32_t user_snapshot_type;             // 2 .. 5. 0: 3, production, falling back to test.
  uint32_t reserved;                       // 0.
} varve_service_system;

// Reads the snapshots from the disks, and settles what a crash left half made. *path becomes the
// system's. Blocking. Threads: the work thread. Fork: not in the child.
// Errors: VARVE_EXISTS, VARVE_INVALID_ARGUMENT (a GUID of zeros, a disk without image and path, an
// image where the service has its own thread), and those of varve_image_open.
VARVE_API varve_code varve_service_define_system(varve_service* service,
                                                 const varve_service_system* system,
                                                 varve_service_path* path, varve_error* error);
// Threads: the work thread. Fork: not in the child. Errors: VARVE_NOT_FOUND, VARVE_BUSY (a job).
VARVE_API varve_code varve_service_remove_system(varve_service* service, const char* system,
                                                 varve_error* error);
// Threads: the work thread. Fork: not in the child. Errors: VARVE_EXISTS, VARVE_INVALID_ARGUMENT.
VARVE_API varve_code varve_service_define_collection(varve_service* service, const varve_uuid* id,
                                                     const char* element_name,
                                                     varve_service_path* path, varve_error* error);
// Threads: the work thread. Fork: not in the child. Errors: VARVE_NOT_FOUND, VARVE_BUSY.
VARVE_API varve_code varve_service_remove_collection(varve_service* service, const char* collection,
                                                     varve_error* error);
// A member is a system or a collection.
// Threads: the work thread. Fork: not in the child. Errors: VARVE_NOT_FOUND, VARVE_EXISTS.
VARVE_API varve_code varve_service_add_member(varve_service* service, const char* collection,
                                              const char* member, varve_error* error);
// Threads: the work thread. Fork: not in the child. Errors: VARVE_NOT_FOUND.
VARVE_API varve_code varve_service_remove_member(varve_service* service, const char* collection,
                                                 const char* member, varve_error* error);

// --- the methods ---------------------------------------------------------------------------------
//
// Msvm_VirtualSystemSnapshotService, then Msvm_CollectionSnapshotService. References and settings
// (CIM-XML) may be NULL where the methods allow it. Out parameters may be NULL, and are always
// assigned. Family A: 0 (`resulting` is set), 4096 (`job` is set), 1 .. 6; family B: 0, 4096,
// 32768 and above. Without a service, in a forked child: 2 or 32768.
// Threads: any; in synchronous mode the work thread.

// CreateSnapshot, family A. Threads: see above. Fork: not in the child.
VARVE_API uint32_t varve_service_create_snapshot(
    varve_service* service, const char* affected_system, const char* snapshot_settings,
    uint16_t snapshot_type, varve_service_path* resulting, varve_service_path* job);
// ApplySnapshot, family A. Threads: see above. Fork: not in the child.
VARVE_API uint32_t varve_service_apply_snapshot(varve_service* service, const char* snapshot,
                                                varve_service_path* job);
// DestroySnapshot, family A. Threads: see above. Fork: not in the child.
VARVE_API uint32_t varve_service_destroy_snapshot(varve_service* service, const char* snapshot,
                                                  varve_service_path* job);
// DestroySnapshotTree, family B. Threads: see above. Fork: not in the child.
VARVE_API uint32_t varve_service_destroy_snapshot_tree(varve_service* service, const char* snapshot,
                                                       varve_service_path* job);
// ClearSnapshotState, family B. Threads: see above. Fork: not in the child.
VARVE_API uint32_t varve_service_clear_snapshot_state(varve_service* service, const char* snapshot,
                                                      varve_service_path* job);
// The collections' CreateSnapshot, family A. Threads: see above. Fork: not in the child.
VARVE_API uint32_t varve_service_create_collection_snapshot(
    varve_service* service, const char* collection, const char* snapshot_settings,
    uint16_t snapshot_type, varve_service_path* resulting, varve_service_path* job);
// The collections' ApplySnapshot, family A. Threads: see above. Fork: not in the child.
VARVE_API uint32_t varve_service_apply_collection_snapshot(varve_service* service,
                                                           const char* snapshot_collection,
                                                           varve_service_path* job);
// The collections' DestroySnapshot, family A. Threads: see above. Fork: not in the child.
VARVE_API uint32_t varve_service_destroy_collection_snapshot(varve_service* service,
                                                             const char* snapshot_collection,
                                                             varve_service_path* job);

// The methods both services have and Varve does not do: they answer 1 (not supported).
enum {
  VARVE_SERVICE_CONVERT_TO_REFERENCE_POINT = 0,
  VARVE_SERVICE_EXPORT_SNAPSHOT = 1,  // Of collections.
  VARVE_SERVICE_REQUEST_STATE_CHANGE = 2,
  VARVE_SERVICE_START = 3,
  VARVE_SERVICE_STOP = 4
};
// Calls one of them on a snapshot or none; others than these are 4 (invalid parameter).
// Threads: any. Fork: not in the child.
VARVE_API uint32_t varve_service_call_other(varve_service* service, uint32_t method,
                                            const char* snapshot, varve_service_path* job);

// Changes a snapshot's ElementName, family A. Threads: the work thread. Fork: not in the child.
VARVE_API uint32_t varve_service_rename_snapshot(varve_service* service, const char* snapshot,
                                                 const char* element_name);

// RequestStateChange of a job (4: terminate). A job stops before its snapshot is published, or not
// at all. `timeout`: NULL; an interval is not supported. Answers 0, 1 .. 6, 4096 .. 4099.
// Threads: any. Fork: not in the child.
VARVE_API uint32_t varve_service_request_job_state_change(varve_service* service, const char* job,
                                                          uint16_t requested_state,
                                                          const char* timeout);

// --- queries -------------------------------------------------------------------------------------

// What to ask, of which object, and the class of what is found.
enum {
  VARVE_SERVICE_SYSTEMS = 0,               // of NULL: Msvm_ComputerSystem, all.
  VARVE_SERVICE_SYSTEM = 1,                // of a system.
  VARVE_SERVICE_SNAPSHOTS = 2,             // of a system: Msvm_VirtualSystemSettingData.
  VARVE_SERVICE_SNAPSHOT = 3,              // of a snapshot.
  VARVE_SERVICE_MOST_CURRENT = 4,          // of a system: the snapshot the disk goes on from.
  VARVE_SERVICE_LAST_APPLIED = 5,          // of a system.
  VARVE_SERVICE_COLLECTIONS = 6,           // of NULL: Msvm_VirtualSystemCollection, all.
  VARVE_SERVICE_SNAPSHOT_COLLECTIONS = 7,  // of a collection: Msvm_SnapshotCollection.
  VARVE_SERVICE_SNAPSHOT_COLLECTION = 8,   // of a snapshot collection.
  VARVE_SERVICE_JOBS = 9,                  // of NULL: Msvm_ConcreteJob, all that are kept.
  VARVE_SERVICE_JOB = 10,                  // of a job.
  VARVE_SERVICE_AFFECTED_ELEMENTS = 11,    // of a job: Msvm_AffectedJobElement.
  VARVE_SERVICE_JOB_ERRORS = 12,           // of a job: Msvm_Error, "Text" as CIM-XML.
  VARVE_SERVICE_SNAPSHOT_TEXT = 13,        // of a snapshot: "Text", an instance as CIM-XML.
  VARVE_SERVICE_SUPPORTED_TYPES = 14       // of a system, or NULL: "SnapshotType".
};

// What a query found: instances with properties, named as their class names them; "Path" is an
// instance's own path. Plain memory: any thread, also after the service is closed.
typedef struct varve_instances varve_instances;

// Freed by varve_service_free_instances.
// Threads: any. Fork: not in the child. Errors: VARVE_NOT_FOUND, VARVE_NO_MEMORY,
// VARVE_UNSUPPORTED (an unknown question).
VARVE_API varve_code varve_service_query(varve_service* service, uint32_t question, const char* of,
                                         varve_instances** found, varve_error* error);
// Threads: any. Fork: also in the child.
VARVE_API size_t varve_service_count_instances(const varve_instances* found);
// A text, or element `element` of a list of texts; NULL when there is none of that name. Valid
// until the instances are freed. Threads: any. Fork: also in the child.
VARVE_API const char* varve_service_get_text(const varve_instances* found, size_t instance,
                                             const char* property, size_t element);
// A number or truth value (1, 0). Threads: any. Fork: also in the child. Errors: VARVE_NOT_FOUND.
VARVE_API varve_code varve_service_get_number(const varve_instances* found, size_t instance,
                                              const char* property, uint64_t* number,
                                              varve_error* error);
// Threads: any. Fork: also in the child.
VARVE_API void varve_service_free_instances(varve_instances* found);

// --- the texts of numbers ------------------------------------------------------------------------

enum {
  VARVE_SERVICE_METHOD_CODE = 0,          // Family A.
  VARVE_SERVICE_VIRTUALIZATION_CODE = 1,  // Family B.
  VARVE_SERVICE_SNAPSHOT_TYPE = 2,
  VARVE_SERVICE_COLLECTION_SNAPSHOT_TYPE = 3,
  VARVE_SERVICE_ENABLED_STATE = 4,
  VARVE_SERVICE_USER_SNAPSHOT_TYPE = 5,
  VARVE_SERVICE_JOB_STATE = 6,
  VARVE_SERVICE_JOB_TYPE = 7,
  VARVE_SERVICE_JOB_REQUEST_CODE = 8,
  VARVE_SERVICE_JOB_ERROR_CODE = 9
};
// The value map's text of a number; "" for a map that is not known. Static lifetime.
// Threads: any. Fork: also in the child.
VARVE_API const char* varve_service_describe(uint32_t map, uint32_t number);

VARVE_C_END
