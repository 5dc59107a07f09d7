/* Diffs, and disks carried elsewhere as streams. */
#include "check.h"

enum { kDisk = 2 * 1024 * 1024, kCluster = 65536 };

struct stream {
  unsigned char* bytes;
  size_t size;
  size_t room;
  size_t at;
  varve_code answer;
};

static varve_code sink(void* owner, const void* data, size_t length) {
  struct stream* stream = owner;
  if (stream->size + length > stream->room) {
    stream->room = 2 * (stream->size + length);
    stream->bytes = realloc(stream->bytes, stream->room);
  }
  memcpy(stream->bytes + stream->size, data, length);
  stream->size += length;
  return stream->answer;
}

static varve_code source(void* owner, void* data, size_t capacity, size_t* length) {
  struct stream* stream = owner;
  const size_t left = stream->size - stream->at;
  *length = left < capacity ? left : capacity;
  memcpy(data, stream->bytes + stream->at, *length);
  stream->at += *length;
  return VARVE_OK;
}

static varve_code only_whole(void* owner, const varve_stream_info* info) {
  (void)owner;
  return info->is_diff ? VARVE_UNSUPPORTED : VARVE_OK;
}

struct ranges {
  unsigned count;
  uint64_t start;
  uint64_t length;
};

static varve_code visit(void* owner, uint64_t start, uint64_t length) {
  struct ranges* ranges = owner;
  ranges->count += 1;
  ranges->start = start;
  ranges->length = length;
  return start == 0 ? VARVE_CANCELLED : VARVE_OK;
}

void test_streams(void) {
  varve_engine* engine = new_engine();
  varve_image* image = new_image(engine, "source", kDisk);
  put(image, 0, kCluster, 1);
  OK(varve_snapshot_create(image, NULL, NULL, &error));
  put(image, 5 * kCluster, 2 * kCluster, 2);

  struct ranges ranges = {0};
  OK(varve_diff_visit(image, 0, VARVE_NO_INDEX, visit, &ranges, &error));
  CHECK(ranges.count == 1 && ranges.start == 5 * kCluster && ranges.length == 2 * kCluster);
  put(image, 0, 1, 3);
  FAILS(VARVE_CANCELLED, varve_diff_visit(image, 0, VARVE_NO_INDEX, visit, &ranges, &error));
  FAILS(VARVE_NOT_FOUND, varve_diff_visit(image, 9, 0, visit, &ranges, &error));
  FAILS(VARVE_INVALID_ARGUMENT, varve_diff_visit(image, 0, 0, NULL, NULL, &error));

  struct stream whole = {0};
  struct stream change = {0};
  varve_stream_info info = {.size = sizeof(info)};
  OK(varve_stream_export_disk(image, 0, sink, &whole, &info, &error));
  CHECK(!info.is_diff && info.disk_bytes == kDisk && info.data_bytes == kCluster);
  OK(varve_stream_export_diff(image, 0, VARVE_NO_INDEX, sink, &change, &info, &error));
  CHECK(info.is_diff && info.data_bytes == 3 * kCluster);
  struct stream full = {.answer = VARVE_NO_SPACE};
  FAILS(VARVE_NO_SPACE, varve_stream_export_disk(image, 0, sink, &full, NULL, &error));

  varve_image* copy = new_image(engine, "target", kDisk);
  OK(varve_stream_import(copy, source, only_whole, &whole, &info, &error));
  CHECK(holds(copy, 0, kCluster, 1));
  FAILS(VARVE_UNSUPPORTED, varve_stream_import(copy, source, only_whole, &change, NULL, &error));
  change.at = 0;
  OK(varve_stream_import(copy, source, NULL, &change, NULL, &error));
  varve_compare_report report = {.size = sizeof(report)};
  OK(varve_compare(image, copy, 0, &report, &error));
  CHECK(report.result == VARVE_IDENTICAL);
  /* Damaged on the way. */
  whole.at = 0;
  whole.bytes[whole.size / 2] ^= 1;
  FAILS(VARVE_CORRUPT, varve_stream_import(copy, source, NULL, &whole, NULL, &error));
  CHECK(strcmp(error.rule, "stream_sum_mismatch") == 0);
  FAILS(VARVE_INVALID_ARGUMENT, varve_stream_import(copy, NULL, NULL, NULL, NULL, &error));
  OK(varve_image_close(copy, &error));
  OK(varve_image_close(image, &error));
  OK(varve_engine_destroy(engine, &error));
  free(whole.bytes);
  free(change.bytes);
  free(full.bytes);
}
