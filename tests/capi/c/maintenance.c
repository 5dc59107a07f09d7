/* Check, convert, compare. */
#include <unistd.h>

#include "check.h"

enum { kDisk = 4 * 1024 * 1024, kCluster = 65536 };

struct seen {
  unsigned findings;
  unsigned progress;
  varve_finding last;
  int stops;
};

static int progress(void* owner, uint64_t done, uint64_t total) {
  struct seen* seen = owner;
  CHECK(done <= total);
  seen->progress += 1;
  return seen->stops;
}

static void finding(void* owner, const varve_finding* told) {
  struct seen* seen = owner;
  CHECK(told->size == sizeof(*told));
  seen->findings += 1;
  seen->last = *told;
}

/* Cluster 20 of the file is counted, and nobody refers to it. */
static void damage(const char* path) {
  FILE* file = fopen(path, "r+b");
  unsigned char table[8];
  unsigned char block[8];
  CHECK(file != NULL && fseek(file, 48, SEEK_SET) == 0 && fread(table, 1, 8, file) == 8);
  uint64_t place = 0;
  for (int i = 0; i < 8; ++i) {
    place = place << 8 | table[i];
  }
  CHECK(fseek(file, (long)place, SEEK_SET) == 0 && fread(block, 1, 8, file) == 8);
  place = 0;
  for (int i = 0; i < 8; ++i) {
    place = place << 8 | block[i];
  }
  CHECK(fseek(file, (long)(place + 2 * 20), SEEK_SET) == 0);
  CHECK(fwrite("\0\1", 1, 2, file) == 2 && fclose(file) == 0);
  CHECK(truncate(path, 21 * kCluster) == 0);
}

/* The first L1 entry leads far behind the end of the file. */
static void lose_table(const char* path) {
  FILE* file = fopen(path, "r+b");
  unsigned char table[8];
  CHECK(file != NULL && fseek(file, 40, SEEK_SET) == 0 && fread(table, 1, 8, file) == 8);
  uint64_t place = 0;
  for (int i = 0; i < 8; ++i) {
    place = place << 8 | table[i];
  }
  CHECK(fseek(file, (long)place, SEEK_SET) == 0);
  CHECK(fwrite("\x80\0\1\0\0\0\0\0", 1, 8, file) == 8 && fclose(file) == 0);
}

static void check_it(varve_engine* engine) {
  varve_image* image = new_image(engine, "checked", kDisk);
  put(image, 0, 3 * kCluster, 1);
  varve_check_report report = {.size = sizeof(report)};
  OK(varve_check(image, NULL, &report, &error));
  CHECK(report.leaks == 0 && report.corruptions == 0 && report.failures == 0);
  CHECK(report.total_clusters == kDisk / kCluster && report.allocated_clusters == 3);
  struct seen seen = {.stops = 1};
  varve_check_options options = {
      .size = sizeof(options), .owner = &seen, .progress = progress, .finding = finding};
  FAILS(VARVE_CANCELLED, varve_check(image, &options, &report, &error));
  OK(varve_image_close(image, &error));
  damage(path_of("checked"));
  image = open_image(engine, "checked", 0);
  seen.stops = 0;
  OK(varve_check(image, &options, &report, &error));
  CHECK(report.leaks == 1 && report.corruptions == 0 && seen.findings == 1);
  CHECK(seen.progress >= 2 && seen.last.severity == VARVE_SEVERITY_LEAK);
  CHECK(seen.last.host_offset == 20 * kCluster && seen.last.found == 1 && seen.last.expected == 0);
  CHECK(seen.last.rule[0] != '\0' && seen.last.table == VARVE_TAG_REFCOUNT_BLOCK);
  FAILS(VARVE_INVALID_ARGUMENT, varve_check(image, &options, NULL, &error));
  varve_repair_report repaired = {.size = sizeof(repaired)};
  FAILS(VARVE_READ_ONLY, varve_repair(image, VARVE_REPAIR_ALL, NULL, &repaired, NULL, &error));
  OK(varve_image_close(image, &error));
  image = open_image(engine, "checked", VARVE_OPEN_WRITABLE);
  FAILS(VARVE_UNSUPPORTED, varve_repair(image, 7, NULL, &repaired, NULL, &error));
  OK(varve_repair(image, VARVE_REPAIR_LEAKS, &options, &repaired, NULL, &error));
  CHECK(repaired.leaks_before == 1 && repaired.leaks_after == 0 && !repaired.is_left);
  CHECK(holds(image, 0, 3 * kCluster, 1));
  OK(varve_image_close(image, &error));

  /* A table that cannot be read: what is left is told, and nothing was changed. */
  damage(path_of("checked"));
  lose_table(path_of("checked"));
  image = open_image(engine, "checked", VARVE_OPEN_WRITABLE);
  varve_error left = {.size = sizeof(left)};
  OK(varve_repair(image, VARVE_REPAIR_ALL, NULL, &repaired, &left, &error));
  CHECK(repaired.is_left && left.code == VARVE_CORRUPT && left.tag == VARVE_TAG_L1);
  CHECK(repaired.leaks_after == repaired.leaks_before && repaired.leaks_before != 0);
  OK(varve_image_close(image, &error));
}

void test_maintenance(void) {
  varve_engine* engine = new_engine();
  check_it(engine);

  varve_image* source = new_image(engine, "from", kDisk);
  varve_image* target = new_image(engine, "to", kDisk);
  put(source, 12345, 400000, 7);
  struct seen seen = {0};
  varve_convert_options options = {.size = sizeof(options),
                                   .flags = VARVE_CONVERT_COMPRESSED | VARVE_CONVERT_TARGET_IS_ZERO,
                                   .owner = &seen,
                                   .progress = progress};
  varve_convert_report report = {.size = sizeof(report)};
  OK(varve_convert(source, target, &options, &report, &error));
  CHECK(report.written_bytes != 0 && report.failed_side == VARVE_SIDE_NONE && seen.progress != 0);
  varve_compare_report compared = {.size = sizeof(compared)};
  OK(varve_compare(source, target, 0, &compared, &error));
  CHECK(compared.result == VARVE_IDENTICAL && holds(target, 12345, 400000, 7));
  put(target, 700000, 1, 9);
  OK(varve_compare(source, target, 0, &compared, &error));
  CHECK(compared.result == VARVE_CONTENT_DIFFERS && compared.offset == 699904);
  OK(varve_image_grow(target, 2 * kDisk, 0, &error));
  OK(varve_compare(source, target, VARVE_COMPARE_STRICT, &compared, &error));
  CHECK(compared.result == VARVE_SIZE_DIFFERS);
  seen.stops = 1;
  FAILS(VARVE_CANCELLED, varve_convert(source, target, &options, NULL, &error));
  FAILS(VARVE_OUT_OF_RANGE, varve_convert(target, source, NULL, &report, &error));
  options.flags = 1u << 30;
  FAILS(VARVE_UNSUPPORTED, varve_convert(source, target, &options, NULL, &error));
  FAILS(VARVE_INVALID_ARGUMENT, varve_convert(source, NULL, NULL, NULL, &error));
  OK(varve_image_close(source, &error));
  OK(varve_image_close(target, &error));
  OK(varve_engine_destroy(engine, &error));
}
