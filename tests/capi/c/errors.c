/* Errors, and structs of other sizes than this library's. */
#include "check.h"

static void sized_structs(void) {
  varve_engine* engine = NULL;
  /* Older callers: the rest has its defaults. */
  varve_engine_options options = {.size = 8, .backend = 77};
  OK(varve_engine_create(&options, &engine, &error));
  OK(varve_engine_destroy(engine, &error));
  /* Not a size of any version. */
  options = (varve_engine_options){.size = 4};
  FAILS(VARVE_INVALID_ARGUMENT, varve_engine_create(&options, &engine, &error));
  CHECK(strcmp(error.what, "varve_engine_options") == 0 && error.value == 4);
  options.size = 13;
  FAILS(VARVE_INVALID_ARGUMENT, varve_engine_create(&options, &engine, &error));
  /* Newer callers: refused by name where they want something. */
  struct {
    varve_engine_options known;
    uint64_t unknown[2];
  } newer = {.known = {.size = sizeof(newer)}};
  OK(varve_engine_create(&newer.known, &engine, &error));
  OK(varve_engine_destroy(engine, &error));
  newer.unknown[1] = 1;
  FAILS(VARVE_UNSUPPORTED, varve_engine_create(&newer.known, &engine, &error));
  CHECK(strcmp(error.what, "varve_engine_options") == 0);
  CHECK(error.value == sizeof(newer) && error.limit == sizeof(varve_engine_options));
  /* Flags and numbers nobody knows. */
  options = (varve_engine_options){.size = sizeof(options), .flags = 1u << 31};
  FAILS(VARVE_UNSUPPORTED, varve_engine_create(&options, &engine, &error));
  options = (varve_engine_options){.size = sizeof(options), .backend = 77};
  FAILS(VARVE_UNSUPPORTED, varve_engine_create(&options, &engine, &error));
  CHECK(strcmp(error.what, "varve_engine_options.backend") == 0 && error.value == 77);
}

/* Errors of other sizes: filled as far as they go, zeros beyond, never further. */
static void sized_errors(void) {
  varve_engine* engine = NULL;
  const varve_engine_options bad = {.size = 4};
  struct {
    varve_error known;
    uint64_t unknown;
    uint64_t beyond;
  } newer;
  memset(&newer, 0x55, sizeof(newer));
  newer.known.size = sizeof(newer.known) + 8;
  CHECK(varve_engine_create(&bad, &engine, &newer.known) == VARVE_INVALID_ARGUMENT);
  CHECK(newer.known.code == VARVE_INVALID_ARGUMENT && newer.unknown == 0);
  CHECK(newer.known.size == sizeof(newer.known) + 8 && newer.beyond == 0x5555555555555555u);
  varve_error older;
  memset(&older, 0x55, sizeof(older));
  older.size = 16;
  CHECK(varve_engine_create(&bad, &engine, &older) == VARVE_INVALID_ARGUMENT);
  CHECK(older.code == VARVE_INVALID_ARGUMENT && older.os_errno == 0 && older.tag == 0x55555555u);
  older.size = 3;
  CHECK(varve_engine_create(&bad, &engine, &older) == VARVE_INVALID_ARGUMENT);
  CHECK(varve_engine_create(&bad, &engine, NULL) == VARVE_INVALID_ARGUMENT);
  CHECK(engine == NULL);
}

void test_errors(void) {
  CHECK(strcmp(varve_code_name(VARVE_OK), "ok") == 0);
  CHECK(strcmp(varve_code_name(VARVE_NO_SPACE), "no_space") == 0);
  CHECK(strcmp(varve_code_name(VARVE_EXISTS), "exists") == 0);
  CHECK(strcmp(varve_code_name(VARVE_OVER_BUDGET), "over_budget") == 0);
  CHECK(strcmp(varve_code_name(99), "unknown") == 0);
  CHECK(strcmp(varve_tag_name(VARVE_TAG_REFCOUNT_BLOCK), "refcount_block") == 0);
  CHECK(strcmp(varve_tag_name(99), "unknown") == 0);
  sized_structs();
  sized_errors();

  varve_engine* engine = new_engine();
  varve_image* image = NULL;
  FAILS(VARVE_NOT_FOUND, varve_image_open(engine, path_of("absent"), NULL, &image, &error));
  CHECK(error.os_errno == 2 && strstr(error.message, "No such file") != NULL);
  FAILS(VARVE_INVALID_ARGUMENT, varve_image_open(NULL, path_of("absent"), NULL, &image, &error));
  FAILS(VARVE_INVALID_ARGUMENT, varve_image_open(engine, NULL, NULL, &image, &error));
  FAILS(VARVE_INVALID_ARGUMENT, varve_image_open(engine, path_of("absent"), NULL, NULL, &error));
  FAILS(VARVE_INVALID_ARGUMENT, varve_image_flush(NULL, &error));
  /* A file that is no image, told by the rule it breaks. */
  FILE* file = fopen(path_of("not-qcow2"), "wb");
  CHECK(file != NULL && fwrite("words", 1, 5, file) == 5 && fclose(file) == 0);
  FAILS(VARVE_CORRUPT, varve_image_open(engine, path_of("not-qcow2"), NULL, &image, &error));
  CHECK(error.rule[0] != '\0' && error.tag == VARVE_TAG_HEADER);
  CHECK(image == NULL);
  /* To close nothing is nothing. */
  OK(varve_image_close(NULL, &error));
  OK(varve_storage_close(NULL, &error));
  OK(varve_queue_close(NULL, &error));
  OK(varve_operation_close(NULL, &error));
  OK(varve_state_writer_close(NULL, &error));
  OK(varve_state_reader_close(NULL, &error));
  OK(varve_engine_destroy(NULL, &error));
  varve_snapshot_list_free(NULL);
  OK(varve_engine_destroy(engine, &error));
}
