/* fork: handles stay with the parent; in the child every call is refused and touches nothing. */
#include "check.h"

enum { kDisk = 1024 * 1024 };

static int refused(varve_code code) {
  return code == VARVE_INVALID_ARGUMENT && strstr(error.what, "forked") != NULL;
}

struct handles {
  varve_engine* engine;
  varve_image* image;
  varve_queue* queue;
};

static int in_child(void* owner) {
  const struct handles* handles = owner;
  varve_engine* engine = handles->engine;
  varve_image* image = handles->image;
  varve_queue* queue = handles->queue;
  const varve_request flush = {.operation = VARVE_FLUSH};
  varve_image* other = NULL;
  /* The number of the first that is not refused, or 0. */
  if (!(refused(varve_image_write(image, 0, "child", 5, &error)))) {
    return 1;
  }
  if (!(refused(varve_image_flush(image, &error)))) {
    return 2;
  }
  if (!(refused(varve_image_open(engine, path_of("forked"), NULL, &other, &error)))) {
    return 3;
  }
  if (!(refused(varve_queue_close(queue, &error)))) {
    return 4;
  }
  if (!(refused(varve_image_close(image, &error)))) {
    return 5;
  }
  if (!(refused(varve_engine_destroy(engine, &error)))) {
    return 6;
  }
  if (!(varve_queue_submit(queue, &flush, 1, &error) == 0)) {
    return 7;
  }
  if (!(varve_engine_poll(engine) == 0)) {
    return 8;
  }
  if (!(varve_engine_wait(engine, 0) == 0)) {
    return 9;
  }
  if (!(varve_engine_event_fd(engine) == -1)) {
    return 10;
  }
  if (!(varve_engine_backend(engine) == 0)) {
    return 11;
  }
  if (!(varve_image_get_size(image) == 0)) {
    return 12;
  }
  if (!(varve_queue_in_flight(queue) == 0)) {
    return 13;
  }
  return 0;
}

void test_fork(void) {
  varve_engine* engine = new_engine();
  varve_image* image = new_image(engine, "forked", kDisk);
  varve_queue* queue = NULL;
  OK(varve_queue_create(image, 4, &queue, &error));
  const varve_request flush = {.operation = VARVE_FLUSH};
  put(image, 0, 5000, 1);
  CHECK(varve_queue_submit(queue, &flush, 1, &error) == 1);
  struct handles handles = {engine, image, queue};
  CHECK(answer_of_child(in_child, &handles) == 0);
  CHECK(holds(image, 0, 5000, 1));
  OK(varve_queue_close(queue, &error));
  OK(varve_image_close(image, &error));
  OK(varve_engine_destroy(engine, &error));
}
