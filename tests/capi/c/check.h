/* What the parts of the C program share: checks that say where they failed, and one engine. */
#ifndef VARVE_TESTS_CAPI_CHECK_H
#define VARVE_TESTS_CAPI_CHECK_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <varve/varve.h>

/* The last failure of a call; every call of the tests is given it. */
extern varve_error error;
extern const char* folder;
extern uint32_t backend;

static inline void must(int condition, const char* text, const char* file, int line) {
  if (!condition) {
    fprintf(stderr, "%s:%d: %s\n  last error: %s %s\n", file, line, text,
            varve_code_name(error.code), error.message);
    exit(1);
  }
}
#define CHECK(condition) must(condition, #condition, __FILE__, __LINE__)
#define OK(call) must((call) == VARVE_OK, #call, __FILE__, __LINE__)
#define FAILS(expected, call)                                                     \
  do {                                                                            \
    const varve_code answer_ = (call);                                            \
    must(answer_ == (expected), #call " is " #expected, __FILE__, __LINE__);      \
    must(error.code == (expected), #call " fills the error", __FILE__, __LINE__); \
  } while (0)

/* Takes FOLDER and the backend; 0 after a message. */
int read_arguments(int argc, char** argv);
/* A path in the scratch folder, in one of a few buffers in turn. */
const char* path_of(const char* name);
varve_engine* new_engine(void);
/* A new image of `bytes`, open for writing. */
varve_image* new_image(varve_engine* engine, const char* name, uint64_t bytes);
varve_image* open_image(varve_engine* engine, const char* name, uint32_t flags);
void fill(unsigned char* data, size_t length, unsigned seed);
/* Whether the disk holds what fill made at `offset`. */
int holds(varve_image* image, uint64_t offset, size_t length, unsigned seed);
void put(varve_image* image, uint64_t offset, size_t length, unsigned seed);

/* Forks; what `body` answers in the child, which then ends. */
int answer_of_child(int (*body)(void* owner), void* owner);

void test_errors(void);
void test_images(void);
void test_storages(void);
void test_queues(void);
void test_snapshots(void);
void test_operations(void);
void test_states(void);
void test_groups(void);
void test_streams(void);
void test_maintenance(void);
void test_handover(void);
void test_fork(void);

#endif
