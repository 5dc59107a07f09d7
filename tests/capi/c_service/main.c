/* Goal: a hypervisor in C can offer the snapshot services. Method: every function of their
 * interface is called, on an executor of the caller's and on a thread of the service's, with what
 * it is for and with what it must refuse.
 *
 * Usage: c_service_program FOLDER [automatic|io_uring|threads] */
#include <varve/c/service.h>

#include "../c/check.h"

enum { kDisk = 1024 * 1024, kState = 300000, kWorkMax = 64 };
enum { kFull = 2, kDiskOnly = 3, kStandard = 1 };
enum { kRunning = 2, kOff = 3, kSaving = 32773, kCompleted = 7, kException = 10 };

/* A hypervisor: some RAM, and whether its guest runs. */
struct machine {
  unsigned char ram[kState];
  uint16_t enabled_state;
  int is_stopped;
  varve_code quiesce_code;
};

static varve_code quiesce(void* owner, uint32_t level, uint32_t timeout_milliseconds) {
  struct machine* machine = owner;
  CHECK(level <= 2 && timeout_milliseconds == 5000);
  machine->is_stopped = machine->quiesce_code == VARVE_OK;
  return machine->quiesce_code;
}
static void resume(void* owner) {
  ((struct machine*)owner)->is_stopped = 0;
}
static varve_code save(void* owner, varve_state_sink* sink) {
  struct machine* machine = owner;
  CHECK(machine->is_stopped);
  varve_service_sink_expect(sink, kState);
  OK(varve_service_sink_write(sink, machine->ram, 1000, &error));
  return varve_service_sink_write(sink, machine->ram + 1000, kState - 1000, &error);
}
static varve_code load(void* owner, varve_state_source* source, uint16_t state) {
  struct machine* machine = owner;
  if (source != NULL) {
    CHECK(varve_service_source_get_size(source) == kState);
    OK(varve_service_source_read(source, 0, machine->ram, kState, &error));
  }
  machine->enabled_state = state;
  machine->is_stopped = 0;
  return VARVE_OK;
}
static uint16_t enabled_state(void* owner) {
  return ((struct machine*)owner)->enabled_state;
}

/* An executor: what was posted runs when the loop comes round. */
struct loop {
  void (*works[kWorkMax])(void* argument);
  void* arguments[kWorkMax];
  size_t count;
  varve_engine* engine;
  size_t turns;
};
static void turn(void* owner, int timeout_milliseconds) {
  struct loop* loop = owner;
  loop->turns += 1;
  varve_engine_wait(loop->engine, timeout_milliseconds);
}
static void post(void* owner, void (*work)(void* argument), void* argument) {
  struct loop* loop = owner;
  CHECK(loop->count < kWorkMax);
  loop->works[loop->count] = work;
  loop->arguments[loop->count] = argument;
  loop->count += 1;
}
static void run_all(struct loop* loop) {
  for (size_t i = 0; i < loop->count; ++i) {
    loop->works[i](loop->arguments[i]);
  }
  loop->count = 0;
}

static uint64_t number(varve_service* service, uint32_t question, const char* of,
                       const char* property) {
  varve_instances* found = NULL;
  uint64_t value = 0;
  OK(varve_service_query(service, question, of, &found, &error));
  OK(varve_service_get_number(found, 0, property, &value, &error));
  varve_service_free_instances(found);
  return value;
}

static size_t count(varve_service* service, uint32_t question, const char* of) {
  varve_instances* found = NULL;
  OK(varve_service_query(service, question, of, &found, &error));
  const size_t instances = varve_service_count_instances(found);
  varve_service_free_instances(found);
  return instances;
}

/* Whether the first instance that answers has this text. */
static int says(varve_service* service, uint32_t question, const char* of, const char* property,
                const char* expected) {
  varve_instances* found = NULL;
  OK(varve_service_query(service, question, of, &found, &error));
  const char* text = varve_service_get_text(found, 0, property, 0);
  const int same = text != NULL && strcmp(text, expected) == 0;
  varve_service_free_instances(found);
  return same;
}

static varve_uuid guid(uint8_t last) {
  varve_uuid id = {{0xa0}};
  id.bytes[15] = last;
  return id;
}

/* In a child nothing may be touched. The number of the first call that is not refused. */
static int in_child(void* owner) {
  varve_service* service = owner;
  varve_service_path job = {"left"};
  varve_instances* found = NULL;
  if (varve_service_apply_snapshot(service, "x", &job) != 2 || job.text[0] != '\0') {
    return 1;
  }
  if (varve_service_destroy_snapshot_tree(service, "x", &job) != 32768) {
    return 2;
  }
  if (varve_service_query(service, VARVE_SERVICE_JOBS, NULL, &found, &error) !=
      VARVE_INVALID_ARGUMENT) {
    return 3;
  }
  return varve_service_close(service, &error) == VARVE_INVALID_ARGUMENT ? 0 : 4;
}

/* A running machine with two open disks: full snapshots as jobs, on the caller's loop. */
static void test_jobs(void) {
  varve_engine* engine = new_engine();
  varve_image* images[2] = {new_image(engine, "job-a", kDisk), new_image(engine, "job-b", kDisk)};
  struct machine* machine = calloc(1, sizeof(*machine));
  struct loop loop = {.count = 0, .engine = engine};
  machine->enabled_state = kRunning;
  fill(machine->ram, kState, 7);
  put(images[0], 0, 5000, 1);

  const varve_service_options options = {.size = sizeof(options),
                                         .host_name = "HOST",
                                         .engine = engine,
                                         .post = post,
                                         .owner = &loop,
                                         .quiesce_timeout_milliseconds = 5000,
                                         .turn = turn};
  varve_service* service = NULL;
  OK(varve_service_create(&options, &service, &error));
  FAILS(VARVE_BUSY, varve_engine_destroy(engine, &error));
  const varve_state_provider provider = {.size = sizeof(provider),
                                         .owner = machine,
                                         .quiesce = quiesce,
                                         .resume = resume,
                                         .save = save,
                                         .load = load};
  const varve_service_disk disks[2] = {{.size = sizeof(disks[0]), .image = images[0]},
                                       {.size = sizeof(disks[0]), .image = images[1]}};
  const varve_service_system system = {.size = sizeof(system),
                                       .id = guid(1),
                                       .element_name = "web",
                                       .disks = disks,
                                       .disk_count = 2,
                                       .provider = &provider,
                                       .enabled_state = enabled_state,
                                       .owner = machine};
  varve_service_path path = {""};
  varve_service_path job = {""};
  varve_service_path made = {"left"};
  OK(varve_service_define_system(service, &system, &path, &error));
  FAILS(VARVE_EXISTS, varve_service_define_system(service, &system, NULL, &error));
  FAILS(VARVE_BUSY, varve_image_close(images[0], &error));
  CHECK(says(service, VARVE_SERVICE_SYSTEMS, NULL, "ElementName", "web"));
  CHECK(number(service, VARVE_SERVICE_SYSTEM, path.text, "EnabledState") == kRunning);
  CHECK(count(service, VARVE_SERVICE_SUPPORTED_TYPES, path.text) == 2);
  CHECK(count(service, VARVE_SERVICE_SUPPORTED_TYPES, NULL) == 2);

  CHECK(varve_service_create_snapshot(service, path.text, "", kFull, &made, &job) == 4096);
  CHECK(made.text[0] == '\0' && strstr(job.text, "Msvm_ConcreteJob") != NULL);
  CHECK(loop.turns == 0);
  run_all(&loop);
  CHECK(loop.turns > 0);
  CHECK(number(service, VARVE_SERVICE_JOB, job.text, "JobState") == kCompleted);
  CHECK(number(service, VARVE_SERVICE_JOB, job.text, "PercentComplete") == 100);
  varve_instances* elements = NULL;
  OK(varve_service_query(service, VARVE_SERVICE_AFFECTED_ELEMENTS, job.text, &elements, &error));
  CHECK(varve_service_count_instances(elements) == 1);
  const char* snapshot = varve_service_get_text(elements, 0, "Path", 0);
  CHECK(snapshot != NULL);
  CHECK(varve_service_get_text(elements, 1, "Path", 0) == NULL);
  CHECK(varve_service_get_text(elements, 0, "Nothing", 0) == NULL);
  CHECK(varve_service_get_text(elements, 0, "Path", 1) == NULL);
  uint64_t value = 0;
  FAILS(VARVE_NOT_FOUND, varve_service_get_number(elements, 0, "Path", &value, &error));
  CHECK(says(service, VARVE_SERVICE_SNAPSHOTS, path.text, "Path", snapshot));
  CHECK(says(service, VARVE_SERVICE_MOST_CURRENT, path.text, "Path", snapshot));
  CHECK(number(service, VARVE_SERVICE_SNAPSHOT, snapshot, "StateBytes") == kState);
  CHECK(count(service, VARVE_SERVICE_LAST_APPLIED, path.text) == 0);
  varve_instances* text = NULL;
  OK(varve_service_query(service, VARVE_SERVICE_SNAPSHOT_TEXT, snapshot, &text, &error));
  CHECK(strstr(varve_service_get_text(text, 0, "Text", 0), "INSTANCE") != NULL);
  varve_service_free_instances(text);

  /* RAM and disk go on, and come back. */
  fill(machine->ram, kState, 8);
  put(images[0], 0, 5000, 2);
  machine->enabled_state = kSaving;
  CHECK(varve_service_apply_snapshot(service, snapshot, &job) == 5);
  machine->enabled_state = kOff;
  CHECK(varve_service_apply_snapshot(service, snapshot, &job) == 4096);
  run_all(&loop);
  CHECK(number(service, VARVE_SERVICE_JOB, job.text, "JobState") == kCompleted);
  unsigned char* expected = malloc(kState);
  fill(expected, kState, 7);
  CHECK(memcmp(machine->ram, expected, kState) == 0 && holds(images[0], 0, 5000, 1));
  free(expected);
  CHECK(says(service, VARVE_SERVICE_LAST_APPLIED, path.text, "Path", snapshot));

  /* A job that is told to stop before it runs, and a guest that does not stand still. */
  machine->enabled_state = kRunning;
  CHECK(varve_service_create_snapshot(service, path.text, NULL, kFull, &made, &job) == 4096);
  CHECK(varve_service_request_job_state_change(service, job.text, 4, "1") == 4098);
  CHECK(varve_service_request_job_state_change(service, job.text, 4, NULL) == 4096);
  run_all(&loop);
  CHECK(number(service, VARVE_SERVICE_JOB, job.text, "JobState") != kCompleted);
  machine->quiesce_code = VARVE_TIMED_OUT;
  CHECK(varve_service_create_snapshot(service, path.text, NULL, kFull, &made, &job) == 4096);
  run_all(&loop);
  CHECK(number(service, VARVE_SERVICE_JOB, job.text, "JobState") == kException);
  CHECK(number(service, VARVE_SERVICE_JOB, job.text, "ErrorCode") == 32772);
  CHECK(count(service, VARVE_SERVICE_JOB_ERRORS, job.text) == 1);
  CHECK(count(service, VARVE_SERVICE_JOBS, NULL) == 4);
  CHECK(count(service, VARVE_SERVICE_SNAPSHOTS, path.text) == 1);

  CHECK(varve_service_clear_snapshot_state(service, snapshot, &job) == 4096);
  run_all(&loop);
  CHECK(number(service, VARVE_SERVICE_SNAPSHOT, snapshot, "StateBytes") == 0);
  CHECK(varve_service_destroy_snapshot_tree(service, snapshot, &job) == 4096);
  run_all(&loop);
  CHECK(count(service, VARVE_SERVICE_SNAPSHOTS, path.text) == 0);
  varve_service_free_instances(elements);

  CHECK(answer_of_child(in_child, service) == 0);
  OK(varve_service_remove_system(service, path.text, &error));
  FAILS(VARVE_NOT_FOUND, varve_service_remove_system(service, path.text, &error));
  OK(varve_image_close(images[1], &error));
  OK(varve_service_close(service, &error));
  OK(varve_image_close(images[0], &error));
  OK(varve_engine_destroy(engine, &error));
  free(machine);
}

/* Two machines whose disks are paths, in a collection, on a thread of the service's own. */
static void test_collections(void) {
  const varve_service_options options = {
      .size = sizeof(options),
      .flags = VARVE_SERVICE_SYNCHRONOUS | VARVE_SERVICE_OWN_THREAD,
      .backend = backend,
      .host_name = "HOST"};
  varve_service* service = NULL;
  OK(varve_service_create(&options, &service, &error));
  varve_engine* engine = new_engine();
  varve_service_path members[2];
  for (uint8_t i = 0; i < 2; ++i) {
    const char* name = i == 0 ? "member-a" : "member-b";
    OK(varve_image_close(new_image(engine, name, kDisk), &error));
    const varve_service_disk disk = {.size = sizeof(disk), .path = path_of(name)};
    const varve_service_system system = {.size = sizeof(system),
                                         .id = guid(i),
                                         .element_name = name,
                                         .disks = &disk,
                                         .disk_count = 1};
    OK(varve_service_define_system(service, &system, &members[i], &error));
  }
  const varve_uuid id = guid(9);
  varve_service_path collection = {""};
  OK(varve_service_define_collection(service, &id, "shop", &collection, &error));
  for (int i = 0; i < 2; ++i) {
    OK(varve_service_add_member(service, collection.text, members[i].text, &error));
  }
  FAILS(VARVE_EXISTS, varve_service_add_member(service, collection.text, members[0].text, &error));
  CHECK(says(service, VARVE_SERVICE_COLLECTIONS, NULL, "ElementName", "shop"));

  varve_service_path made = {""};
  varve_service_path job = {"left"};
  CHECK(varve_service_create_collection_snapshot(service, collection.text, "", kStandard, &made,
                                                 &job) == 0);
  CHECK(job.text[0] == '\0' && made.text[0] != '\0');
  CHECK(says(service, VARVE_SERVICE_SNAPSHOT_COLLECTIONS, collection.text, "Path", made.text));
  CHECK(number(service, VARVE_SERVICE_SNAPSHOT_COLLECTION, made.text, "IsWhole") == 1);
  CHECK(count(service, VARVE_SERVICE_SNAPSHOTS, members[1].text) == 1);
  CHECK(varve_service_apply_collection_snapshot(service, made.text, &job) == 0 ||
        job.text[0] != '\0');
  CHECK(varve_service_destroy_collection_snapshot(service, made.text, &job) == 0);
  CHECK(count(service, VARVE_SERVICE_SNAPSHOTS, members[1].text) == 0);

  CHECK(varve_service_create_snapshot(service, members[0].text, NULL, kDiskOnly, &made, NULL) == 0);
  CHECK(varve_service_rename_snapshot(service, made.text, "renamed") == 0);
  CHECK(says(service, VARVE_SERVICE_SNAPSHOT, made.text, "ElementName", "renamed"));
  CHECK(varve_service_destroy_snapshot(service, made.text, NULL) == 0);
  CHECK(varve_service_destroy_snapshot(service, made.text, &job) == 4);
  CHECK(varve_service_create_snapshot(service, NULL, NULL, kFull, &made, &job) == 4);
  CHECK(varve_service_create_snapshot(service, members[0].text, NULL, 9, &made, &job) == 6);
  for (uint32_t method = 0; method <= VARVE_SERVICE_STOP; ++method) {
    CHECK(varve_service_call_other(service, method, NULL, &job) == 1);
  }
  CHECK(varve_service_call_other(service, 99, NULL, &job) == 4);

  OK(varve_service_remove_member(service, collection.text, members[0].text, &error));
  OK(varve_service_remove_collection(service, collection.text, &error));
  FAILS(VARVE_NOT_FOUND, varve_service_remove_collection(service, collection.text, &error));
  varve_instances* found = NULL;
  FAILS(VARVE_UNSUPPORTED, varve_service_query(service, 99, NULL, &found, &error));
  CHECK(found == NULL);
  OK(varve_service_close(service, &error));
  OK(varve_engine_destroy(engine, &error));
}

static void test_refused(void) {
  varve_service* service = NULL;
  varve_service_options options = {.size = sizeof(options), .flags = VARVE_SERVICE_OWN_THREAD};
  options.post = post;
  FAILS(VARVE_INVALID_ARGUMENT, varve_service_create(&options, &service, &error));
  options.post = NULL;
  options.turn = turn;
  FAILS(VARVE_INVALID_ARGUMENT, varve_service_create(&options, &service, &error));
  options = (varve_service_options){.size = sizeof(options)};
  FAILS(VARVE_INVALID_ARGUMENT, varve_service_create(&options, &service, &error));
  options = (varve_service_options){.size = sizeof(options), .flags = 64};
  FAILS(VARVE_UNSUPPORTED, varve_service_create(&options, &service, &error));
  char name[300];
  fill((unsigned char*)name, sizeof(name), 1);
  for (size_t i = 0; i < sizeof(name); ++i) {
    name[i] = i + 1 < sizeof(name) ? 'n' : '\0';
  }
  options = (varve_service_options){
      .size = sizeof(options), .flags = VARVE_SERVICE_OWN_THREAD, .host_name = name};
  FAILS(VARVE_INVALID_ARGUMENT, varve_service_create(&options, &service, &error));
  options.host_name = name + 300 - 256; /* The longest: its paths are whole. */
  options.flags |= VARVE_SERVICE_SYNCHRONOUS;
  OK(varve_service_create(&options, &service, &error));
  const varve_uuid id = guid(1);
  varve_service_path collection = {""};
  OK(varve_service_define_collection(service, &id, "", &collection, &error));
  CHECK(says(service, VARVE_SERVICE_COLLECTIONS, NULL, "Path", collection.text));
  varve_service_system system = {.size = sizeof(system), .id = id, .user_snapshot_type = 9};
  FAILS(VARVE_INVALID_ARGUMENT, varve_service_define_system(service, &system, NULL, &error));
  const varve_state_provider hollow = {.size = sizeof(hollow)};
  system = (varve_service_system){.size = sizeof(system), .id = id, .provider = &hollow};
  FAILS(VARVE_INVALID_ARGUMENT, varve_service_define_system(service, &system, NULL, &error));
  OK(varve_service_close(service, &error));
  OK(varve_service_close(NULL, &error));

  CHECK(varve_service_create_snapshot(NULL, "", "", kFull, NULL, NULL) == 2);
  CHECK(varve_service_clear_snapshot_state(NULL, "", NULL) == 32768);
  FAILS(VARVE_INVALID_ARGUMENT, varve_service_sink_write(NULL, "x", 1, &error));
  FAILS(VARVE_INVALID_ARGUMENT, varve_service_source_read(NULL, 0, NULL, 0, &error));
  varve_service_sink_expect(NULL, 1);
  varve_service_free_instances(NULL);
  CHECK(varve_service_source_get_size(NULL) == 0 && varve_service_count_instances(NULL) == 0);
  CHECK(strlen(varve_service_describe(VARVE_SERVICE_JOB_STATE, kException)) > 0);
  for (uint32_t map = 0; map <= VARVE_SERVICE_JOB_ERROR_CODE; ++map) {
    CHECK(varve_service_describe(map, 2)[0] != '\0');
  }
  CHECK(varve_service_describe(99, 0)[0] == '\0');
}

int main(int argc, char** argv) {
  if (!read_arguments(argc, argv)) {
    return 2;
  }
  test_jobs();
  test_collections();
  test_refused();
  printf("varve %s: the services' C interface does what it says\n", varve_version());
  return 0;
}
