/* Goal: a hypervisor in C can use all of Varve. Method: every function of the interface is called,
 * with what it is for and with what it must refuse.
 *
 * Usage: c_program FOLDER [automatic|io_uring|threads] */
#include "check.h"

int main(int argc, char** argv) {
  if (!read_arguments(argc, argv)) {
    return 2;
  }
  test_errors();
  test_images();
  test_storages();
  test_queues();
  test_snapshots();
  test_operations();
  test_states();
  test_groups();
  test_streams();
  test_maintenance();
  test_handover();
  test_fork();
  printf("varve %s: the C interface does what it says\n", varve_version());
  return 0;
}
