/* The smallest program in C: prints the library's version and a word of it. */
#include <stdio.h>

#include <varve/varve.h>

int main(void) {
  varve_engine* engine = NULL;
  if (varve_engine_create(NULL, &engine, NULL) != VARVE_OK) {
    return 1;
  }
  printf("%s %s\n", varve_version(), varve_code_name(VARVE_NO_SPACE));
  return varve_engine_destroy(engine, NULL);
}
