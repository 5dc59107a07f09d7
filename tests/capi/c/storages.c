/* Storages: memory, and one that the program supplies, completing on a thread of its own. */
#include <errno.h>
#include <pthread.h>

#include "check.h"

enum { kDisk = 1024 * 1024, kRoom = 4 * 1024 * 1024, kRequestsMax = 512 };

struct store {
  unsigned char bytes[kRoom];
  uint64_t size;
  int locks;
  int closed;
  int fails_writes;
  /* Requests on their way to the other thread. */
  pthread_mutex_t mutex;
  pthread_cond_t available;
  varve_storage_request* waiting[kRequestsMax];
  unsigned first, last;
  int ends;
};

static varve_code carry_out(struct store* store, const varve_storage_io* io) {
  uint64_t at = io->offset;
  switch (io->operation) {
    case VARVE_STORAGE_READ:
      for (uint32_t i = 0; i < io->vector_count; ++i) {
        unsigned char* target = io->vectors[i].data;
        for (size_t k = 0; k < io->vectors[i].size; ++k, ++at) {
          target[k] = at < store->size ? store->bytes[at] : 0;
        }
      }
      return VARVE_OK;
    case VARVE_STORAGE_WRITE:
      if (store->fails_writes) {
        return VARVE_IO;
      }
      CHECK(io->offset + io->length <= kRoom);
      for (uint32_t i = 0; i < io->vector_count; ++i) {
        memcpy(store->bytes + at, io->vectors[i].data, io->vectors[i].size);
        at += io->vectors[i].size;
      }
      store->size = at > store->size ? at : store->size;
      return VARVE_OK;
    case VARVE_STORAGE_WRITE_ZEROES:
      CHECK(io->offset + io->length <= kRoom);
      memset(store->bytes + io->offset, 0, io->length);
      store->size = io->offset + io->length > store->size ? io->offset + io->length : store->size;
      return VARVE_OK;
    case VARVE_STORAGE_RESIZE:
      if (io->offset > kRoom) {
        return VARVE_NO_SPACE;
      }
      if (io->offset > store->size) {
        memset(store->bytes + store->size, 0, io->offset - store->size);
      }
      store->size = io->offset;
      return VARVE_OK;
    case VARVE_STORAGE_FLUSH:
    case VARVE_STORAGE_ALLOCATE:
      return VARVE_OK;
    default:
      return VARVE_UNSUPPORTED;
  }
}

static void* serve(void* owner) {
  struct store* store = owner;
  pthread_mutex_lock(&store->mutex);
  for (;;) {
    while (store->first == store->last && !store->ends) {
      pthread_cond_wait(&store->available, &store->mutex);
    }
    if (store->first == store->last) {
      break;
    }
    varve_storage_request* request = store->waiting[store->first++ % kRequestsMax];
    varve_storage_io io = {.size = sizeof(io)};
    CHECK(varve_storage_request_get(request, &io) == VARVE_OK);
    const varve_code code = carry_out(store, &io);
    varve_storage_complete_from_any_thread(request, code, code == VARVE_IO ? EIO : 0);
  }
  pthread_mutex_unlock(&store->mutex);
  return NULL;
}

static void submit(void* owner, varve_storage_request* request) {
  struct store* store = owner;
  varve_storage_io io = {.size = sizeof(io)};
  CHECK(varve_storage_request_get(request, &io) == VARVE_OK && io.tag <= VARVE_TAG_BACKING);
  if (io.operation == VARVE_STORAGE_FLUSH) {
    /* At once, on the engine's own thread. */
    varve_storage_complete(request, VARVE_OK, 0);
    return;
  }
  pthread_mutex_lock(&store->mutex);
  CHECK(store->last - store->first < kRequestsMax);
  store->waiting[store->last++ % kRequestsMax] = request;
  pthread_cond_signal(&store->available);
  pthread_mutex_unlock(&store->mutex);
}

static uint64_t get_size(void* owner) {
  struct store* store = owner;
  pthread_mutex_lock(&store->mutex);
  const uint64_t size = store->size;
  pthread_mutex_unlock(&store->mutex);
  return size;
}

static varve_code lock(void* owner, int for_writing, int share_everything) {
  struct store* store = owner;
  if (store->locks != 0) {
    return VARVE_BUSY;
  }
  CHECK(for_writing && !share_everything);
  store->locks = 1;
  return VARVE_OK;
}

static void unlock(void* owner) {
  ((struct store*)owner)->locks = 0;
}
static void closed(void* owner) {
  ((struct store*)owner)->closed += 1;
}

static void supplied(varve_engine* engine) {
  static struct store store = {.mutex = PTHREAD_MUTEX_INITIALIZER,
                               .available = PTHREAD_COND_INITIALIZER};
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, serve, &store) == 0);
  varve_storage_callbacks callbacks = {.size = sizeof(callbacks),
                                       .owner = &store,
                                       .name = "store",
                                       .flags = VARVE_STORAGE_GROWTH_IS_ZERO,
                                       .submit = submit,
                                       .get_size = get_size,
                                       .lock = lock,
                                       .unlock = unlock,
                                       .close = closed};
  varve_storage* storage = NULL;
  OK(varve_storage_open_callbacks(engine, &callbacks, &storage, &error));
  const varve_create_options create = {.size = sizeof(create), .disk_bytes = kDisk};
  OK(varve_image_create_in(storage, NULL, &create, &error));
  CHECK(varve_storage_get_size(storage) == store.size && store.size != 0);

  const varve_open_options open = {.size = sizeof(open), .flags = VARVE_OPEN_WRITABLE};
  varve_image* image = NULL;
  OK(varve_image_open_storage(storage, &open, &image, &error));
  CHECK(store.locks == 1);
  put(image, 12345, 70000, 5);
  CHECK(holds(image, 12345, 70000, 5));
  OK(varve_image_flush(image, &error));
  /* The storage's errors arrive with its errno. */
  store.fails_writes = 1;
  FAILS(VARVE_IO, varve_image_write(image, 0, "x", 1, &error));
  CHECK(error.os_errno == EIO && error.tag == VARVE_TAG_GUEST_DATA);
  store.fails_writes = 0;
  varve_storage* again = NULL;
  varve_image* other = NULL;
  OK(varve_storage_open_callbacks(engine, &callbacks, &again, &error));
  FAILS(VARVE_BUSY, varve_image_open_storage(again, &open, &other, &error));
  CHECK(store.closed == 1);
  OK(varve_image_close(image, &error));
  CHECK(store.closed == 2 && store.locks == 0);

  callbacks.request_alignment = 3;
  FAILS(VARVE_INVALID_ARGUMENT, varve_storage_open_callbacks(engine, &callbacks, &again, &error));
  callbacks.request_alignment = 0;
  callbacks.submit = NULL;
  FAILS(VARVE_INVALID_ARGUMENT, varve_storage_open_callbacks(engine, &callbacks, &again, &error));
  pthread_mutex_lock(&store.mutex);
  store.ends = 1;
  pthread_cond_signal(&store.available);
  pthread_mutex_unlock(&store.mutex);
  CHECK(pthread_join(thread, NULL) == 0);
}

void test_storages(void) {
  varve_engine* engine = new_engine();
  varve_storage* storage = NULL;
  OK(varve_storage_open_memory(engine, 4096, &storage, &error));
  CHECK(varve_storage_get_size(storage) == 4096);
  FAILS(VARVE_BUSY, varve_engine_destroy(engine, &error));
  OK(varve_storage_close(storage, &error));
  OK(varve_storage_open_path(engine, path_of("raw"),
                             VARVE_FILE_WRITABLE | VARVE_FILE_CREATE | VARVE_FILE_NO_FSYNC,
                             &storage, &error));
  const varve_open_options open = {
      .size = sizeof(open), .format = VARVE_FORMAT_RAW, .flags = VARVE_OPEN_WRITABLE};
  varve_image* image = NULL;
  OK(varve_image_open_storage(storage, &open, &image, &error));
  OK(varve_image_grow(image, 8192, VARVE_PREALLOCATION_FALLOC, &error));
  put(image, 100, 4000, 2);
  CHECK(holds(image, 100, 4000, 2));
  OK(varve_image_close(image, &error));
  FAILS(VARVE_EXISTS,
        varve_storage_open_path(engine, path_of("raw"), VARVE_FILE_WRITABLE | VARVE_FILE_CREATE,
                                &storage, &error));
  FAILS(VARVE_UNSUPPORTED,
        varve_storage_open_path(engine, path_of("raw"), 1u << 30, &storage, &error));
  FAILS(VARVE_IO, varve_storage_open_fd(engine, -1, 0, &storage, &error));
  CHECK(varve_storage_request_get(NULL, NULL) == VARVE_INVALID_ARGUMENT);
  varve_storage_complete(NULL, VARVE_OK, 0);
  supplied(engine);
  OK(varve_engine_destroy(engine, &error));
}
