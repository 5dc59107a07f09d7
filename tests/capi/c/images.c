/* Images by path and by descriptor, and every blocking request. */
#include <fcntl.h>
#include <unistd.h>

#include "check.h"

enum { kCluster = 65536, kDisk = 4 * 1024 * 1024 };

static void guest_requests(varve_image* image) {
  unsigned char bytes[512];
  put(image, 1000, 3000, 1);
  CHECK(holds(image, 1000, 3000, 1));
  OK(varve_image_write_zeroes(image, 2000, 100, 1, &error));
  OK(varve_image_read(image, 2000, bytes, 100, &error));
  CHECK(bytes[0] == 0 && bytes[99] == 0);
  OK(varve_image_discard(image, 2 * kCluster, kCluster, &error));
  unsigned char* cluster = malloc(kCluster);
  memset(cluster, 'c', kCluster);
  OK(varve_image_write_compressed(image, 4 * kCluster, cluster, kCluster, &error));
  free(cluster);
  OK(varve_image_flush(image, &error));

  varve_block_status status = {.size = sizeof(status)};
  OK(varve_image_get_status(image, 0, kDisk, 1, &status, &error));
  CHECK(status.length == kCluster && status.depth == 0);
  CHECK(status.flags == (VARVE_STATUS_DATA | VARVE_STATUS_ALLOCATED | VARVE_STATUS_HOST_OFFSET));
  OK(varve_image_get_status(image, 4 * kCluster, kCluster, 1, &status, &error));
  CHECK((status.flags & VARVE_STATUS_COMPRESSED) != 0);
  OK(varve_image_get_status(image, kCluster, kCluster, 1, &status, &error));
  CHECK((status.flags & VARVE_STATUS_ZERO) != 0 && (status.flags & VARVE_STATUS_ALLOCATED) == 0);
  FAILS(VARVE_OUT_OF_RANGE, varve_image_get_status(image, kDisk, 1, 1, &status, &error));
  FAILS(VARVE_INVALID_ARGUMENT, varve_image_get_status(image, 0, 1, 1, NULL, &error));

  FAILS(VARVE_OUT_OF_RANGE, varve_image_read(image, kDisk, bytes, 1, &error));
  FAILS(VARVE_INVALID_ARGUMENT, varve_image_read(image, 0, NULL, 1, &error));
  FAILS(VARVE_INVALID_ARGUMENT, varve_image_write(image, 0, NULL, 1, &error));
  FAILS(VARVE_UNSUPPORTED, varve_image_grow(image, kDisk - 512, 0, &error));
  FAILS(VARVE_UNSUPPORTED, varve_image_grow(image, 2 * kDisk, 77, &error));
  OK(varve_image_grow(image, 2 * kDisk, VARVE_PREALLOCATION_OFF, &error));
  CHECK(varve_image_get_size(image) == 2 * kDisk);
}

static void facts_of(varve_image* image) {
  varve_image_facts facts = {.size = sizeof(facts)};
  OK(varve_image_get_facts(image, &facts, &error));
  CHECK(facts.format == VARVE_FORMAT_QCOW2 && facts.version == 3);
  CHECK(facts.cluster_bytes == kCluster && facts.refcount_bits == 16);
  CHECK(facts.disk_bytes == kDisk && facts.flags == 0 && facts.snapshot_count == 0);
  CHECK(facts.backing_name[0] == '\0' && facts.data_file_name[0] == '\0');
}

static varve_code open_below(void* owner, varve_engine* engine, const char* name, uint32_t flags,
                             varve_storage** storage) {
  *(int*)owner += 1;
  CHECK(strcmp(name, "/elsewhere/base") == 0 && (flags & VARVE_FILE_WRITABLE) == 0);
  const int fd = open(path_of("base"), O_RDONLY | O_CLOEXEC);
  return fd < 0 ? VARVE_NOT_FOUND : varve_storage_open_fd(engine, fd, 0, storage, &error);
}

static varve_code open_nothing(void* owner, varve_engine* engine, const char* name, uint32_t flags,
                               varve_storage** storage) {
  (void)owner, (void)engine, (void)name, (void)flags, (void)storage;
  return VARVE_READ_ONLY;
}

/* A chain whose files are opened by the embedder only. */
static void by_descriptor(varve_engine* engine) {
  varve_image* base = new_image(engine, "base", kDisk);
  put(base, 0, 5000, 3);
  OK(varve_image_close(base, &error));
  const varve_create_options over = {.size = sizeof(over),
                                     .disk_bytes = kDisk,
                                     .flags = VARVE_CREATE_LAZY_REFCOUNTS,
                                     .compression = VARVE_COMPRESSION_ZSTD,
                                     .backing_name = "base",
                                     .backing_format = "qcow2"};
  OK(varve_image_create(engine, path_of("over"), &over, &error));

  int asked = 0;
  varve_open_options options = {.size = sizeof(options),
                                .flags = VARVE_OPEN_WRITABLE,
                                .directory = "/elsewhere",
                                .open_file = open_below,
                                .open_file_owner = &asked};
  int fd = open(path_of("over"), O_RDWR | O_CLOEXEC);
  varve_image* image = NULL;
  OK(varve_image_open_fd(engine, fd, &options, &image, &error));
  CHECK(fcntl(fd, F_GETFD) == -1);
  CHECK(asked == 1 && holds(image, 0, 5000, 3));
  varve_image_facts facts = {.size = sizeof(facts)};
  OK(varve_image_get_facts(image, &facts, &error));
  CHECK(strcmp(facts.backing_name, "base") == 0 && strcmp(facts.backing_format, "qcow2") == 0);
  CHECK(facts.flags == VARVE_FACT_LAZY_REFCOUNTS && facts.compression == VARVE_COMPRESSION_ZSTD);
  varve_block_status status = {.size = sizeof(status)};
  OK(varve_image_get_status(image, 0, kCluster, 1, &status, &error));
  CHECK(status.depth == 1);
  OK(varve_image_close(image, &error));

  /* Refusals: the descriptor stays the caller's. */
  fd = open(path_of("over"), O_RDWR | O_CLOEXEC);
  options.open_file = open_nothing;
  FAILS(VARVE_READ_ONLY, varve_image_open_fd(engine, fd, &options, &image, &error));
  options.open_file = NULL;
  options.directory = NULL;
  FAILS(VARVE_INVALID_ARGUMENT, varve_image_open_fd(engine, fd, &options, &image, &error));
  options.flags = 0;
  FAILS(VARVE_INVALID_ARGUMENT, varve_image_open_fd(engine, fd, &options, &image, &error));
  CHECK(fcntl(fd, F_GETFD) != -1);
  options.flags = VARVE_OPEN_WRITABLE | VARVE_OPEN_NO_BACKING | VARVE_OPEN_BACKING_RAW;
  OK(varve_image_open_fd(engine, fd, &options, &image, &error));
  OK(varve_image_close(image, &error));
  FAILS(VARVE_IO, varve_image_open_fd(engine, -1, &options, &image, &error));
}

void test_images(void) {
  varve_engine* engine = new_engine();
  CHECK(varve_engine_backend(engine) != VARVE_AIO_AUTOMATIC);
  CHECK(varve_engine_event_fd(engine) >= 0 && varve_engine_event_fd(NULL) == -1);
  CHECK(varve_engine_wait(engine, 0) == 0 && varve_engine_poll(engine) == 0);
  varve_engine_submit_pending(engine);

  varve_image* image = new_image(engine, "disk", kDisk);
  facts_of(image);
  guest_requests(image);
  FAILS(VARVE_BUSY, varve_engine_destroy(engine, &error));
  /* The image's locks keep a second writer away. */
  varve_image* second = NULL;
  const varve_open_options writable = {.size = sizeof(writable), .flags = VARVE_OPEN_WRITABLE};
  FAILS(VARVE_BUSY, varve_image_open(engine, path_of("disk"), &writable, &second, &error));
  OK(varve_image_close(image, &error));
  second = open_image(engine, "disk", 0);
  CHECK(holds(second, 1000, 900, 1));
  FAILS(VARVE_READ_ONLY, varve_image_write(second, 0, "x", 1, &error));
  OK(varve_image_close(second, &error));
  by_descriptor(engine);
  OK(varve_engine_destroy(engine, &error));
}
