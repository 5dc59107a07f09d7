/* Snapshots in blocking calls: create, list, find, rename, open, apply, delete. */
#include "check.h"

enum { kDisk = 2 * 1024 * 1024 };

static void list_two(varve_image* image) {
  varve_snapshot_list* list = NULL;
  OK(varve_snapshot_list_make(image, &list, &error));
  CHECK(varve_snapshot_list_get_count(list) == 2);
  varve_snapshot_info info = {.size = sizeof(info)};
  OK(varve_snapshot_list_get(list, 0, &info, &error));
  CHECK(strcmp(info.name, "first") == 0 && strcmp(info.id, "1") == 0);
  CHECK(info.disk_bytes == kDisk && info.vm_state_bytes == 0 && info.icount == 42);
  CHECK(info.date_seconds == 1234567890 && info.vm_clock_nanoseconds == 99);
  CHECK(info.settings_bytes == 5 && memcmp(info.settings, "a\0b\xff", 5) == 0);
  CHECK(info.parent_index == VARVE_NO_INDEX);
  CHECK(info.flags == VARVE_SNAPSHOT_PARENT_KNOWN);
  const varve_uuid first = info.uuid;
  OK(varve_snapshot_list_get(list, 1, &info, &error));
  CHECK(strcmp(info.name, "2") == 0 && info.icount == -1 && info.parent_index == 0);
  CHECK(info.flags == (VARVE_SNAPSHOT_PARENT_KNOWN | VARVE_SNAPSHOT_CURRENT));
  CHECK(memcmp(&info.parent, &first, sizeof(first)) == 0);
  FAILS(VARVE_NOT_FOUND, varve_snapshot_list_get(list, 2, &info, &error));
  FAILS(VARVE_INVALID_ARGUMENT, varve_snapshot_list_get(list, 0, NULL, &error));
  varve_snapshot_list_free(list);
}

static void refused(varve_image* image) {
  size_t index = 0;
  FAILS(VARVE_NOT_FOUND, varve_snapshot_find(image, "absent", VARVE_BY_ID_OR_NAME, &index, &error));
  FAILS(VARVE_UNSUPPORTED, varve_snapshot_find(image, "first", 99, &index, &error));
  FAILS(VARVE_NOT_FOUND, varve_snapshot_apply(image, 7, &error));
  FAILS(VARVE_NOT_FOUND, varve_snapshot_delete(image, 7, &error));
  FAILS(VARVE_NOT_FOUND, varve_snapshot_rename(image, 7, "x", &error));
  FAILS(VARVE_INVALID_ARGUMENT, varve_snapshot_rename(image, 0, NULL, &error));
  varve_image* snapshot = NULL;
  FAILS(VARVE_NOT_FOUND, varve_snapshot_open(image, 7, &snapshot, &error));
  char settings[769] = {0};
  varve_snapshot_options options = {
      .size = sizeof(options), .settings = settings, .settings_bytes = sizeof(settings)};
  FAILS(VARVE_INVALID_ARGUMENT, varve_snapshot_create(image, &options, NULL, &error));
  options = (varve_snapshot_options){.size = sizeof(options), .settings_bytes = 1};
  FAILS(VARVE_INVALID_ARGUMENT, varve_snapshot_create(image, &options, NULL, &error));
}

void test_snapshots(void) {
  varve_engine* engine = new_engine();
  varve_image* image = new_image(engine, "snapshots", kDisk);
  put(image, 0, 200000, 1);
  const varve_snapshot_options options = {.size = sizeof(options),
                                          .name = "first",
                                          .settings = "a\0b\xff",
                                          .settings_bytes = 5,
                                          .vm_clock_nanoseconds = 99,
                                          .icount = 42,
                                          .date_seconds = 1234567890,
                                          .uuid = {{7}},
                                          .flags = VARVE_SNAPSHOT_HAS_ICOUNT};
  varve_snapshot_created created = {.size = sizeof(created)};
  OK(varve_snapshot_create(image, &options, &created, &error));
  CHECK(strcmp(created.id, "1") == 0 && created.uuid.bytes[0] == 7);
  put(image, 100000, 200000, 2);
  OK(varve_snapshot_create(image, NULL, NULL, &error));
  list_two(image);
  refused(image);

  size_t index = 9;
  OK(varve_snapshot_find(image, "first", VARVE_BY_NAME, &index, &error));
  CHECK(index == 0);
  varve_image* snapshot = NULL;
  OK(varve_snapshot_open(image, index, &snapshot, &error));
  CHECK(holds(snapshot, 0, 200000, 1));
  FAILS(VARVE_READ_ONLY, varve_image_write(snapshot, 0, "x", 1, &error));
  FAILS(VARVE_BUSY, varve_snapshot_delete(image, index, &error));
  FAILS(VARVE_BUSY, varve_image_close(image, &error));
  OK(varve_image_close(snapshot, &error));

  OK(varve_snapshot_apply(image, index, &error));
  CHECK(holds(image, 0, 200000, 1));
  OK(varve_snapshot_rename(image, 1, "second", &error));
  OK(varve_snapshot_find(image, "second", VARVE_BY_ID_OR_NAME, &index, &error));
  OK(varve_snapshot_delete(image, index, &error));
  OK(varve_image_close(image, &error));

  image = open_image(engine, "snapshots", 0);
  varve_image_facts facts = {.size = sizeof(facts)};
  OK(varve_image_get_facts(image, &facts, &error));
  CHECK(facts.snapshot_count == 1 && holds(image, 0, 200000, 1));
  FAILS(VARVE_READ_ONLY, varve_snapshot_create(image, NULL, NULL, &error));
  OK(varve_image_close(image, &error));
  OK(varve_engine_destroy(engine, &error));
}
