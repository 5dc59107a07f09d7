// clang-tidy has something to say here.
int unclean(int a) {
  if (a = 1)
    return 2;
  return a;
}
