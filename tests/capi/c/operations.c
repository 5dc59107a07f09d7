/* Operations: a snapshot behind running requests, step by step; cancelling; callbacks. */
#include "check.h"

enum { kDisk = 4 * 1024 * 1024 };

struct watch {
  unsigned seen; /* A bit for each phase told. */
  varve_code blocking;
  varve_image* image;
};

static void changed(void* owner, varve_operation* operation) {
  struct watch* watch = owner;
  varve_progress progress = {.size = sizeof(progress)};
  CHECK(varve_operation_get_progress(operation, &progress) == VARVE_OK);
  watch->seen |= 1u << progress.phase;
  /* What may block is refused here. */
  watch->blocking = varve_image_flush(watch->image, NULL);
  CHECK(varve_engine_poll(NULL) == 0);
  if (progress.phase == VARVE_PHASE_DONE) {
    CHECK(varve_operation_get_result(operation, &error) == VARVE_OK);
    OK(varve_operation_close(operation, &error));
  }
}

static void stepwise(varve_engine* engine, varve_image* image, varve_queue* queue) {
  const varve_snapshot_options snapshot = {.size = sizeof(snapshot), .name = "steps"};
  const varve_operation_options options = {.size = sizeof(options),
                                           .flags = VARVE_OPERATION_STEPWISE};
  varve_operation* operation = NULL;
  put(image, 0, 100000, 1);
  OK(varve_operation_start_create(image, &snapshot, &options, &operation, &error));
  FAILS(VARVE_INVALID_ARGUMENT, varve_operation_freeze(operation, &error));
  FAILS(VARVE_BUSY, varve_operation_get_result(operation, &error));
  OK(varve_operation_wait_for(operation, VARVE_PHASE_READY, &error));
  FAILS(VARVE_INVALID_ARGUMENT, varve_operation_publish(operation, &error));
  FAILS(VARVE_INVALID_ARGUMENT, varve_operation_wait_for(operation, VARVE_PHASE_DONE, &error));
  FAILS(VARVE_UNSUPPORTED, varve_operation_wait_for(operation, 99, &error));
  FAILS(VARVE_BUSY, varve_image_close(image, &error));
  OK(varve_operation_freeze(operation, &error));
  /* The guest goes on while the snapshot is finished. */
  unsigned char* later = malloc(100000);
  fill(later, 100000, 2);
  const varve_request write = {
      .user_data = 5, .operation = VARVE_WRITE, .length = 100000, .data = later};
  CHECK(varve_queue_submit(queue, &write, 1, &error) == 1);
  OK(varve_operation_publish(operation, &error));
  varve_progress progress = {.size = sizeof(progress)};
  do {
    varve_engine_wait(engine, -1);
    CHECK(varve_operation_get_progress(operation, &progress) == VARVE_OK);
  } while (progress.phase != VARVE_PHASE_DONE);
  OK(varve_operation_get_result(operation, &error));
  CHECK(progress.id[0] != '\0' && progress.clusters_done == progress.clusters_total);
  CHECK(progress.usable_nanoseconds <= progress.total_nanoseconds);
  CHECK(progress.pause_nanoseconds <= progress.total_nanoseconds);
  OK(varve_operation_close(operation, &error));
  varve_completion done;
  while (varve_queue_reap(queue, &done, 1) == 0) {
    varve_engine_wait(engine, -1);
  }
  CHECK(done.user_data == 5 && done.code == VARVE_OK && holds(image, 0, 100000, 2));
  free(later);
}

void test_operations(void) {
  varve_engine* engine = new_engine();
  varve_image* image = new_image(engine, "operations", kDisk);
  varve_queue* queue = NULL;
  OK(varve_queue_create(image, 4, &queue, &error));
  stepwise(engine, image, queue);

  struct watch watch = {.image = image};
  varve_operation_options options = {.size = sizeof(options), .changed = changed, .owner = &watch};
  varve_operation* operation = NULL;
  OK(varve_operation_start_apply(image, 0, &options, &operation, &error));
  while ((watch.seen & 1u << VARVE_PHASE_DONE) == 0) {
    varve_engine_wait(engine, -1);
  }
  CHECK(watch.blocking == VARVE_BUSY && holds(image, 0, 100000, 1));

  /* One operation at a time, unless it may wait for its turn. */
  varve_operation* second = NULL;
  OK(varve_operation_start_create(image, NULL, NULL, &operation, &error));
  FAILS(VARVE_BUSY, varve_operation_start_delete(image, 0, NULL, &second, &error));
  options =
      (varve_operation_options){.size = sizeof(options), .flags = VARVE_OPERATION_WAIT_FOR_TURN};
  OK(varve_operation_start_delete(image, 0, &options, &second, &error));
  varve_operation_cancel(operation);
  FAILS(VARVE_CANCELLED, varve_operation_wait_for(operation, VARVE_PHASE_DONE, &error));
  OK(varve_operation_close(operation, &error));
  OK(varve_operation_wait_for(second, VARVE_PHASE_DONE, &error));
  OK(varve_operation_close(second, &error));
  /* Closing one that is not done cancels it, and tells nobody. */
  watch.seen = 0;
  options = (varve_operation_options){.size = sizeof(options),
                                      .flags = VARVE_OPERATION_STEPWISE,
                                      .changed = changed,
                                      .owner = &watch};
  OK(varve_operation_start_create(image, NULL, &options, &operation, &error));
  OK(varve_operation_close(operation, &error));
  CHECK((watch.seen & 1u << VARVE_PHASE_DONE) == 0);
  options.flags = 1u << 20;
  FAILS(VARVE_UNSUPPORTED, varve_operation_start_create(image, NULL, &options, &operation, &error));
  FAILS(VARVE_NOT_FOUND, varve_operation_start_apply(image, 0, NULL, &operation, &error));
  OK(varve_queue_close(queue, &error));
  OK(varve_image_close(image, &error));
  OK(varve_engine_destroy(engine, &error));
}
