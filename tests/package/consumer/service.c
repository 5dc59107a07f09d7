/* The services' C interface: a service without systems, its version and an error's name. */
#include <stdio.h>
#include <varve/c/service.h>
#include <varve/varve.h>

int main(void) {
  const varve_service_options options = {
      .size = sizeof(options), .flags = VARVE_SERVICE_SYNCHRONOUS | VARVE_SERVICE_OWN_THREAD};
  varve_service* service = NULL;
  varve_service_path job;
  if (varve_service_create(&options, &service, NULL) != VARVE_OK ||
      varve_service_apply_snapshot(service, "nothing", &job) != 4) {
    return 1;
  }
  printf("%s %s\n", varve_version(), varve_code_name(VARVE_NO_SPACE));
  return varve_service_close(service, NULL);
}
