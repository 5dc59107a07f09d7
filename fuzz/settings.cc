// Embedded instances: no text crashes, and what is accepted keeps every limit.
#include "input.h"
#include "service/settings_text.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace varve;
  const auto settings = parse_snapshot_settings(fuzz::text_of(data, size));
  if (settings) {
    std::size_t notes = 0;
    for (const std::string& note : settings->notes) {
      notes += note.size();
    }
    fuzz::must(settings->consistency <= ConsistencyLevel::crash);
    fuzz::must(settings->guest_backup <= GuestBackupType::copy);
    fuzz::must(settings->element_name.empty() || is_element_name(settings->element_name));
    fuzz::must(notes <= kNotesBytesMax && settings->notes.size() <= kNotesCountMax);
  }
  return 0;
}
