/* Groups: two disks of one machine, with its state, taken, applied and deleted as one. */
#include "check.h"

enum { kDisk = 1024 * 1024 };

struct machine {
  varve_state_writer* writer;
  int stopped;
  int resumed;
  int saved;
  varve_code stop_code;
};

static varve_code stop(void* owner) {
  struct machine* machine = owner;
  machine->stopped += 1;
  return machine->stop_code;
}
static void resume(void* owner) {
  ((struct machine*)owner)->resumed += 1;
}
static varve_code save(void* owner) {
  struct machine* machine = owner;
  CHECK(machine->stopped == 1 && machine->resumed == 1);
  machine->saved += 1;
  OK(varve_state_writer_append(machine->writer, "state", 5, &error));
  return varve_state_writer_finish(machine->writer, &error);
}

void test_groups(void) {
  varve_engine* engine = new_engine();
  varve_image* images[2] = {new_image(engine, "disk-a", kDisk), new_image(engine, "disk-b", kDisk)};
  put(images[0], 0, 10000, 1);
  put(images[1], 0, 10000, 2);
  struct machine machine = {0};
  OK(varve_state_writer_create(images[0], &machine.writer, &error));
  const varve_group_steps steps = {
      .size = sizeof(steps), .owner = &machine, .stop = stop, .resume = resume, .save = save};
  const varve_snapshot_options options = {
      .size = sizeof(options), .name = "both", .state = machine.writer};
  varve_group_created created = {.size = sizeof(created)};
  OK(varve_group_create(images, 2, &options, &steps, &created, &error));
  CHECK(machine.saved == 1);
  OK(varve_state_writer_close(machine.writer, &error));
  put(images[0], 0, 10000, 3);
  put(images[1], 0, 10000, 4);

  varve_group_info groups[2] = {{.size = sizeof(groups[0])}};
  size_t count = 0;
  OK(varve_group_list(images, 2, groups, 2, &count, &error));
  CHECK(count == 1 && groups[0].member_count == 2 && groups[0].missing_count == 0);
  CHECK(!groups[0].is_pending && memcmp(&groups[0].group, &created.group, 16) == 0);
  OK(varve_group_list(images, 1, NULL, 0, &count, &error));
  CHECK(count == 1);

  OK(varve_group_apply(images, 2, &created.group, &error));
  CHECK(holds(images[0], 0, 10000, 1) && holds(images[1], 0, 10000, 2));
  varve_group_settlement settlement = {.size = sizeof(settlement)};
  OK(varve_group_settle(images, 2, &settlement, &error));
  CHECK(settlement.completed == 0 && settlement.removed == 0 && settlement.undecided == 0);
  OK(varve_group_delete(images, 2, &created.group, &error));
  FAILS(VARVE_NOT_FOUND, varve_group_apply(images, 2, &created.group, &error));
  FAILS(VARVE_NOT_FOUND, varve_group_delete(images, 2, &created.group, &error));

  /* A guest that cannot be stopped: its code is the answer, and no disk keeps a trace. */
  struct machine stubborn = {.stop_code = VARVE_TIMED_OUT};
  const varve_group_steps refused = {.size = sizeof(refused), .owner = &stubborn, .stop = stop};
  FAILS(VARVE_TIMED_OUT, varve_group_create(images, 2, NULL, &refused, NULL, &error));
  OK(varve_group_list(images, 2, groups, 2, &count, &error));
  CHECK(count == 0 && stubborn.stopped == 1);
  FAILS(VARVE_INVALID_ARGUMENT, varve_group_create(images, 0, NULL, NULL, NULL, &error));
  varve_image* twice[2] = {images[0], images[0]};
  FAILS(VARVE_INVALID_ARGUMENT, varve_group_create(twice, 2, NULL, NULL, NULL, &error));
  OK(varve_image_close(images[0], &error));
  OK(varve_image_close(images[1], &error));
  OK(varve_engine_destroy(engine, &error));
}
