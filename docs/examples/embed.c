/* A hypervisor's disk in C: guest I/O from an event loop, and a snapshot that stops the guest for
 * microseconds while the rest happens behind its I/O. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <varve/varve.h>

static varve_error error = {.size = sizeof(error)};

static void must(varve_code code) {
  if (code != VARVE_OK) {
    fprintf(stderr, "%s: %s\n", varve_code_name(code), error.message);
    exit(1);
  }
}

/* One turn of the hypervisor's own loop: sleep until something is there, run it, take what is done.
 * How many of the guest's requests that were. */
static size_t turn(varve_engine* engine, varve_queue* queue) {
  varve_engine_submit_pending(engine);
  struct pollfd ready = {.fd = varve_engine_event_fd(engine), .events = POLLIN};
  poll(&ready, 1, -1);
  varve_engine_poll(engine);
  varve_completion done[16];
  const size_t count = varve_queue_reap(queue, done, 16);
  for (size_t i = 0; i < count; ++i) {
    if (done[i].code != VARVE_OK) {
      fprintf(stderr, "request %llu: %s\n", (unsigned long long)done[i].user_data, done[i].what);
      exit(1);
    }
  }
  return count;
}

static uint32_t phase_of(const varve_operation* operation, varve_progress* progress) {
  progress->size = sizeof(*progress);
  return varve_operation_get_progress(operation, progress) == VARVE_OK ? progress->phase
                                                                       : VARVE_PHASE_DONE;
}

int main(int argc, char** argv) {
  const char* path = argc > 1 ? argv[1] : "disk.qcow2";

  /* The thread that makes the engine is the only one that uses it and its images. */
  varve_engine* engine = NULL;
  must(varve_engine_create(NULL, &engine, &error));
  const varve_create_options create = {.size = sizeof(create), .disk_bytes = 1u << 30};
  must(varve_image_create(engine, path, &create, &error));
  const varve_open_options open = {.size = sizeof(open), .flags = VARVE_OPEN_WRITABLE};
  varve_image* image = NULL;
  must(varve_image_open(engine, path, &open, &image, &error));
  varve_queue* queue = NULL;
  must(varve_queue_create(image, 128, &queue, &error));

  /* The guest writes: a batch of requests goes in, completions come out with their user_data. */
  unsigned char* memory = calloc(2, 65536);
  const varve_request writes[2] = {
      {.user_data = 1, .operation = VARVE_WRITE, .length = 65536, .data = memory},
      {.user_data = 2,
       .operation = VARVE_WRITE,
       .offset = 65536,
       .length = 65536,
       .data = memory + 65536}};
  size_t left = varve_queue_submit(queue, writes, 2, &error);
  while (left != 0) {
    left -= turn(engine, queue);
  }

  /* A snapshot, in steps: everything that takes time happens while the guest runs. */
  const varve_snapshot_options snapshot = {.size = sizeof(snapshot), .name = "before the update"};
  const varve_operation_options stepwise = {.size = sizeof(stepwise),
                                            .flags = VARVE_OPERATION_STEPWISE};
  varve_operation* operation = NULL;
  varve_progress progress;
  must(varve_operation_start_create(image, &snapshot, &stepwise, &operation, &error));
  while (phase_of(operation, &progress) < VARVE_PHASE_READY) {
    turn(engine, queue);
  }
  /* Stop the guest's processors here. The freeze itself does no I/O and waits for nothing. */
  must(varve_operation_freeze(operation, &error));
  /* Let the guest go on here. */
  left = varve_queue_submit(queue, writes, 2, &error);
  must(varve_operation_publish(operation, &error));
  while (phase_of(operation, &progress) < VARVE_PHASE_DONE || left != 0) {
    left -= turn(engine, queue);
  }
  must(varve_operation_get_result(operation, &error));
  printf("snapshot %s, the guest stood still for %llu ns\n", progress.id,
         (unsigned long long)progress.pause_nanoseconds);
  must(varve_operation_close(operation, &error));

  /* The disk as it was then. */
  must(varve_snapshot_apply(image, 0, &error));

  /* What was made last is closed first. */
  must(varve_queue_close(queue, &error));
  must(varve_image_close(image, &error));
  must(varve_engine_destroy(engine, &error));
  free(memory);
  return 0;
}
