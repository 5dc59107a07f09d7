/* Machine states: written in pieces, read back verified, dropped. */
#include "check.h"

enum { kDisk = 2 * 1024 * 1024, kState = 300000 };

void test_states(void) {
  varve_engine* engine = new_engine();
  varve_image* image = new_image(engine, "state", kDisk);
  unsigned char* state = malloc(kState);
  unsigned char* found = calloc(1, kState);
  fill(state, kState, 6);
  varve_state_writer* writer = NULL;
  OK(varve_state_writer_create(image, &writer, &error));
  OK(varve_state_writer_append(writer, state, 1000, &error));
  const varve_state_piece pieces[3] = {{200000, state + 200000, 50000},
                                       {1000, state + 1000, 199000},
                                       {250000, state + 250000, kState - 250000}};
  OK(varve_state_writer_write(writer, pieces, 3, &error));
  CHECK(varve_state_writer_get_size(writer) == kState);
  const varve_state_piece none = {0, NULL, 1};
  FAILS(VARVE_INVALID_ARGUMENT, varve_state_writer_write(writer, &none, 1, &error));
  const varve_state_piece far = {UINT64_C(1) << 50, state, 1};
  CHECK(varve_state_writer_write(writer, &far, 1, &error) == VARVE_OUT_OF_RANGE);
  FAILS(VARVE_BUSY, varve_image_close(image, &error));
  OK(varve_state_writer_close(writer, &error));

  /* Once more, without the piece that cannot be. */
  OK(varve_state_writer_create(image, &writer, &error));
  OK(varve_state_writer_append(writer, state, kState, &error));
  OK(varve_state_writer_finish(writer, &error));
  const varve_snapshot_options options = {.size = sizeof(options), .name = "full", .state = writer};
  OK(varve_snapshot_create(image, &options, NULL, &error));
  OK(varve_state_writer_close(writer, &error));

  varve_state_reader* reader = NULL;
  FAILS(VARVE_NOT_FOUND, varve_state_reader_open(image, 3, &reader, &error));
  OK(varve_state_reader_open(image, 0, &reader, &error));
  CHECK(varve_state_reader_get_size(reader) == kState && varve_state_reader_is_verified(reader));
  OK(varve_state_reader_read(reader, 7, found + 7, kState - 7, &error));
  CHECK(memcmp(found + 7, state + 7, kState - 7) == 0);
  FAILS(VARVE_OUT_OF_RANGE, varve_state_reader_read(reader, kState, found, 1, &error));
  OK(varve_state_reader_close(reader, &error));
  OK(varve_state_drop(image, 0, &error));
  OK(varve_state_reader_open(image, 0, &reader, &error));
  CHECK(varve_state_reader_get_size(reader) == 0);
  OK(varve_state_reader_close(reader, &error));
  OK(varve_image_close(image, &error));
  OK(varve_engine_destroy(engine, &error));
  free(state);
  free(found);
}
