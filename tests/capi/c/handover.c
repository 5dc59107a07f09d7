/* Pause, drain, release and reacquire; statistics; the log; the list of system calls. */
#include "check.h"

enum { kDisk = 2 * 1024 * 1024 };

static void paused(varve_engine* engine, varve_image* image, varve_queue* queue) {
  unsigned char block[4096] = {1};
  const varve_request write = {
      .user_data = 3, .operation = VARVE_WRITE, .length = sizeof(block), .data = block};
  varve_completion done;
  OK(varve_image_pause(image, &error));
  CHECK(varve_queue_submit(queue, &write, 1, &error) == 1);
  OK(varve_image_drain(image, &error));
  CHECK(varve_queue_reap(queue, &done, 1) == 0 && varve_queue_in_flight(queue) == 1);
  FAILS(VARVE_BUSY, varve_image_read(image, 0, block, 1, &error));
  /* A snapshot of a paused disk. */
  OK(varve_snapshot_create(image, NULL, NULL, &error));
  OK(varve_image_resume(image, &error));
  OK(varve_image_drain(image, &error));
  CHECK(varve_queue_reap(queue, &done, 1) == 1 && done.code == VARVE_OK);
  (void)engine;
}

static void handed_over(varve_engine* engine, varve_image* image) {
  put(image, 0, 5000, 1);
  FAILS(VARVE_INVALID_ARGUMENT, varve_image_reacquire(image, &error));
  OK(varve_image_release(image, &error));
  FAILS(VARVE_BUSY, varve_image_release(image, &error));
  FAILS(VARVE_BUSY, varve_image_write(image, 0, "x", 1, &error));
  varve_image* target = open_image(engine, "handed", VARVE_OPEN_WRITABLE);
  CHECK(holds(target, 0, 5000, 1));
  put(target, 0, 5000, 2);
  FAILS(VARVE_BUSY, varve_image_reacquire(image, &error));
  OK(varve_image_close(target, &error));
  OK(varve_image_reacquire(image, &error));
  CHECK(holds(image, 0, 5000, 2));
  put(image, 0, 5000, 3);
}

static void counted(varve_image* image) {
  varve_statistics statistics = {.size = sizeof(statistics)};
  OK(varve_image_get_statistics(image, &statistics, &error));
  CHECK(statistics.writes[VARVE_TAG_GUEST_DATA] != 0 && statistics.flushes != 0);
  CHECK(statistics.l2_hits != 0 && statistics.write_latency.requests != 0);
  uint64_t sum = 0;
  for (unsigned i = 0; i < VARVE_LATENCY_BUCKETS; ++i) {
    sum += statistics.write_latency.counts[i];
  }
  CHECK(sum == statistics.write_latency.requests);
  FAILS(VARVE_INVALID_ARGUMENT, varve_image_get_statistics(image, NULL, &error));
}

static void listed(void) {
  varve_system_call call = {.size = sizeof(call)};
  unsigned uses = 0;
  size_t count = 0;
  while (varve_system_call_get(count, &call) == VARVE_OK) {
    CHECK(call.name[0] != '\0' && call.why[0] != '\0' && call.number >= 0);
    uses |= 1u << call.use;
    ++count;
  }
  CHECK(count > 20 && uses == 31);
  CHECK(varve_system_call_get(count, &call) == VARVE_NOT_FOUND);
}

struct heard {
  unsigned infos;
  varve_engine* engine;
};

static void hear(void* owner, uint32_t level, const char* text) {
  struct heard* heard = owner;
  heard->infos += level == VARVE_LOG_INFO && strstr(text, "handed") != NULL ? 1 : 0;
  /* Not from here. */
  if (heard->engine != NULL) {
    CHECK(varve_engine_poll(heard->engine) == 0);
  }
}

void test_handover(void) {
  struct heard heard = {0};
  const varve_engine_options options = {
      .size = sizeof(options), .backend = backend, .log = hear, .log_owner = &heard};
  varve_engine* engine = NULL;
  OK(varve_engine_create(&options, &engine, &error));
  heard.engine = engine;
  OK(varve_image_close(new_image(engine, "handed", kDisk), &error));
  varve_image* image =
      open_image(engine, "handed", VARVE_OPEN_WRITABLE | VARVE_OPEN_MEASURE_LATENCY);
  varve_queue* queue = NULL;
  OK(varve_queue_create(image, 2, &queue, &error));
  paused(engine, image, queue);
  handed_over(engine, image);
  CHECK(heard.infos == 2);
  counted(image);
  listed();
  OK(varve_queue_close(queue, &error));
  OK(varve_image_close(image, &error));
  OK(varve_engine_destroy(engine, &error));
}
