/* What check.h declares: one engine, images in the scratch folder, bytes to tell apart. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

varve_error error = {.size = sizeof(error)};
const char* folder;
uint32_t backend = VARVE_AIO_AUTOMATIC;

const char* path_of(const char* name) {
  static char paths[4][512];
  static unsigned turn;
  char* path = paths[turn++ % 4];
  snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
  return path;
}

varve_engine* new_engine(void) {
  const varve_engine_options options = {.size = sizeof(options), .backend = backend, .threads = 1};
  varve_engine* engine = NULL;
  OK(varve_engine_create(&options, &engine, &error));
  return engine;
}

varve_image* open_image(varve_engine* engine, const char* name, uint32_t flags) {
  const varve_open_options options = {.size = sizeof(options), .flags = flags};
  varve_image* image = NULL;
  OK(varve_image_open(engine, path_of(name), &options, &image, &error));
  return image;
}

varve_image* new_image(varve_engine* engine, const char* name, uint64_t bytes) {
  const varve_create_options options = {.size = sizeof(options), .disk_bytes = bytes};
  OK(varve_image_create(engine, path_of(name), &options, &error));
  return open_image(engine, name, VARVE_OPEN_WRITABLE);
}

void fill(unsigned char* data, size_t length, unsigned seed) {
  for (size_t i = 0; i < length; ++i) {
    data[i] = (unsigned char)(seed * 131 + i * 7 + (i >> 8));
  }
}

int holds(varve_image* image, uint64_t offset, size_t length, unsigned seed) {
  unsigned char* found = calloc(1, length);
  unsigned char* expected = malloc(length);
  fill(expected, length, seed);
  OK(varve_image_read(image, offset, found, length, &error));
  const int same = memcmp(found, expected, length) == 0;
  free(found);
  free(expected);
  return same;
}

void put(varve_image* image, uint64_t offset, size_t length, unsigned seed) {
  unsigned char* data = malloc(length);
  fill(data, length, seed);
  OK(varve_image_write(image, offset, data, length, &error));
  free(data);
}

int answer_of_child(int (*body)(void* owner), void* owner) {
  int ends[2];
  CHECK(pipe(ends) == 0);
  const pid_t child = fork();
  if (child == 0) {
    const char answer = (char)body(owner);
    (void)!write(ends[1], &answer, 1);
    /* Not by exit: there valgrind would miss what the threads of the parent keep. */
    raise(SIGKILL);
  }
  char answer = -1;
  CHECK(child > 0 && read(ends[0], &answer, 1) == 1);
  CHECK(waitpid(child, NULL, 0) == child);
  close(ends[0]);
  close(ends[1]);
  return answer;
}

int read_arguments(int argc, char** argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: %s FOLDER [automatic|io_uring|threads]\n", argv[0]);
    return 0;
  }
  folder = argv[1];
  if (argc > 2) {
    backend = strcmp(argv[2], "threads") == 0    ? VARVE_AIO_THREADS
              : strcmp(argv[2], "io_uring") == 0 ? VARVE_AIO_IO_URING
                                                 : VARVE_AIO_AUTOMATIC;
  }
  return 1;
}
