/* Queues: batches in, batches out, from a loop that watches the event descriptor. */
#include <poll.h>

#include "check.h"

enum { kDisk = 8 * 1024 * 1024, kDepth = 16, kBlock = 4096, kBlocks = 100 };

/* What has completed already, else what completes next. */
static size_t turn(varve_engine* engine, varve_queue* queue, varve_completion* out, size_t room) {
  const size_t count = varve_queue_reap(queue, out, room);
  if (count != 0) {
    return count;
  }
  struct pollfd ready = {.fd = varve_engine_event_fd(engine), .events = POLLIN};
  varve_engine_submit_pending(engine);
  CHECK(poll(&ready, 1, 60000) == 1);
  varve_engine_poll(engine);
  return varve_queue_reap(queue, out, room);
}

/* Writes and then reads all blocks, a batch at a time. */
static void many_blocks(varve_engine* engine, varve_queue* queue, uint32_t operation,
                        unsigned char* memory) {
  varve_request requests[kBlocks] = {{0}};
  varve_completion done[5];
  unsigned char seen[kBlocks] = {0};
  for (unsigned i = 0; i < kBlocks; ++i) {
    requests[i].user_data = i;
    requests[i].operation = operation;
    requests[i].offset = (uint64_t)i * 3 * kBlock;
    requests[i].length = kBlock;
    requests[i].data = memory + (size_t)i * kBlock;
  }
  size_t submitted = 0;
  size_t finished = 0;
  while (finished < kBlocks) {
    const size_t taken =
        varve_queue_submit(queue, requests + submitted, kBlocks - submitted, &error);
    CHECK(taken <= kDepth && varve_queue_in_flight(queue) <= kDepth);
    submitted += taken;
    const size_t count = turn(engine, queue, done, 5);
    for (size_t i = 0; i < count; ++i) {
      CHECK(done[i].code == VARVE_OK && done[i].user_data < kBlocks);
      CHECK(done[i].offset == VARVE_NO_OFFSET && done[i].what[0] == '\0');
      CHECK(seen[done[i].user_data]++ == 0);
    }
    finished += count;
  }
  CHECK(submitted == kBlocks && varve_queue_in_flight(queue) == 0);
}

static varve_completion one(varve_engine* engine, varve_queue* queue,
                            const varve_request* request) {
  varve_completion done = {0};
  CHECK(varve_queue_submit(queue, request, 1, &error) == 1);
  while (varve_queue_reap(queue, &done, 1) == 0) {
    varve_engine_wait(engine, -1);
  }
  CHECK(done.user_data == request->user_data);
  return done;
}

static void kinds(varve_engine* engine, varve_queue* queue) {
  unsigned char a[300];
  unsigned char b[724];
  fill(a, sizeof(a), 8);
  fill(b, sizeof(b), 9);
  const varve_iovec vectors[2] = {{a, sizeof(a)}, {b, sizeof(b)}};
  varve_request request = {.user_data = 1,
                           .operation = VARVE_WRITE,
                           .offset = 77,
                           .length = 1024,
                           .vectors = vectors,
                           .vector_count = 2};
  CHECK(one(engine, queue, &request).code == VARVE_OK);
  memset(a, 0, sizeof(a));
  request.operation = VARVE_READ;
  CHECK(one(engine, queue, &request).code == VARVE_OK && a[1] == (unsigned char)(8 * 131 + 7));
  request.length = 1000;
  CHECK(one(engine, queue, &request).code == VARVE_INVALID_ARGUMENT);
  request = (varve_request){
      .operation = VARVE_WRITE_ZEROES, .flags = VARVE_REQUEST_MAY_UNMAP, .length = 65536};
  CHECK(one(engine, queue, &request).code == VARVE_OK);
  request = (varve_request){.operation = VARVE_DISCARD, .offset = 65536, .length = 65536};
  CHECK(one(engine, queue, &request).code == VARVE_OK);
  request = (varve_request){.operation = VARVE_FLUSH};
  CHECK(one(engine, queue, &request).code == VARVE_OK);
  unsigned char* cluster = calloc(1, 65536);
  request = (varve_request){
      .operation = VARVE_WRITE_COMPRESSED, .offset = 65536, .length = 65536, .data = cluster};
  CHECK(one(engine, queue, &request).code == VARVE_OK);
  request = (varve_request){.operation = VARVE_READ, .offset = kDisk, .length = 1, .data = a};
  const varve_completion failed = one(engine, queue, &request);
  CHECK(failed.code == VARVE_OUT_OF_RANGE && failed.offset == kDisk && failed.what[0] != '\0');
  free(cluster);
}

static void malformed(varve_queue* queue) {
  varve_request two[2] = {{.operation = VARVE_FLUSH}, {.operation = 99}};
  error.code = VARVE_OK;
  CHECK(varve_queue_submit(queue, two, 2, &error) == 1 && error.code == VARVE_UNSUPPORTED);
  two[1] = (varve_request){.operation = VARVE_READ, .length = 1};
  CHECK(varve_queue_submit(queue, two + 1, 1, &error) == 0);
  CHECK(error.code == VARVE_INVALID_ARGUMENT);
  two[1] = (varve_request){.operation = VARVE_FLUSH, .reserved = {0, 0, 1}};
  CHECK(varve_queue_submit(queue, two + 1, 1, &error) == 0 && error.code == VARVE_UNSUPPORTED);
  two[1] = (varve_request){.operation = VARVE_FLUSH, .flags = 16};
  CHECK(varve_queue_submit(queue, two + 1, 1, &error) == 0 && error.code == VARVE_UNSUPPORTED);
  CHECK(varve_queue_submit(NULL, two, 1, &error) == 0 && varve_queue_reap(NULL, NULL, 1) == 0);
}

void test_queues(void) {
  varve_engine* engine = new_engine();
  varve_image* image = new_image(engine, "queued", kDisk);
  varve_queue* queue = NULL;
  FAILS(VARVE_INVALID_ARGUMENT, varve_queue_create(image, 0, &queue, &error));
  OK(varve_queue_create(image, kDepth, &queue, &error));
  unsigned char* written = malloc((size_t)kBlocks * kBlock);
  unsigned char* read = calloc(kBlocks, kBlock);
  fill(written, (size_t)kBlocks * kBlock, 4);
  many_blocks(engine, queue, VARVE_WRITE, written);
  many_blocks(engine, queue, VARVE_READ, read);
  CHECK(memcmp(written, read, (size_t)kBlocks * kBlock) == 0);
  kinds(engine, queue);
  malformed(queue);
  /* A full queue takes no more before something is reaped, done or not. */
  varve_request flushes[kDepth + 1] = {{0}};
  for (unsigned i = 0; i <= kDepth; ++i) {
    flushes[i].operation = VARVE_FLUSH;
  }
  CHECK(varve_queue_submit(queue, flushes, kDepth + 1, &error) == kDepth - 1);
  OK(varve_image_flush(image, &error));
  FAILS(VARVE_BUSY, varve_image_close(image, &error));
  OK(varve_queue_close(queue, &error));
  OK(varve_image_close(image, &error));
  OK(varve_engine_destroy(engine, &error));
  free(written);
  free(read);
}
