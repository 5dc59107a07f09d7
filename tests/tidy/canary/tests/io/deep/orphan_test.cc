// Too deep for tests/CMakeLists.txt: never built.
