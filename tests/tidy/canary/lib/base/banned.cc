// memcpy(in, a, comment) is fine, and so is "memcpy(" in a string.
#include <cassert>
#include <new>

struct Fine {
  Fine(const Fine&) = delete;
  const char* text = "new int; delete x; memcpy(a, b, c); reinterpret_cast";
  const char* raw = R"(assert(false) "new" std::shared_ptr)";
};

void banned(char* a, const char* b) {
  std::memcpy(a, b, 1'000);
  auto* c = reinterpret_cast<int*>(a);
  auto* d = new int;
  delete d;
  d = new (std::nothrow) int;
  delete[] a;
  std::shared_ptr<int> e;
  assert(c);
  sprintf(a, "%s", b);
  std::random_device f;
  // tidy: allow reinterpret-cast: shows that a reason silences the finding
  auto* g = reinterpret_cast<int*>(a);
}
