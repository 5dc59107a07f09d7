# Debian packages by `cpack -G DEB` in the build folder: libvarve0, libvarve-dev, varve-tools and,
# where they are built, libvarve-service0 and nbdkit-plugin-varve.
set(CPACK_PACKAGE_NAME varve)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_VENDOR "The Varve authors")
set(CPACK_PACKAGE_CONTACT "The Varve authors <varve@localhost>")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_VERBATIM_VARIABLES ON)
set(CPACK_COMPONENTS_ALL runtime development tools)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_ENABLE_COMPONENT_DEPENDS OFF)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${PROJECT_BINARY_DIR}/lib)

set(CPACK_COMPONENT_RUNTIME_DESCRIPTION
  "reads, writes and snapshots qcow2 disk images (library)")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_NAME libvarve${PROJECT_VERSION_MAJOR})
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SHLIBDEPS ON)
# The C interface: what is built now may call any function it has by now.
set(CPACK_DEBIAN_RUNTIME_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_GENERATE_SHLIBS_POLICY ">=")

set(CPACK_COMPONENT_DEVELOPMENT_DESCRIPTION
  "reads, writes and snapshots qcow2 disk images (development files)")
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME libvarve-dev)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS "libvarve${PROJECT_VERSION_MAJOR} (= \
${PROJECT_VERSION}), liburing-dev, libxxhash-dev, libzstd-dev, zlib1g-dev")
# For Varve::service only.
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SUGGESTS "libpugixml-dev")

set(CPACK_COMPONENT_TOOLS_DESCRIPTION
  "reads, writes and snapshots qcow2 disk images (the varve tool)")
set(CPACK_DEBIAN_TOOLS_PACKAGE_NAME varve-tools)
set(CPACK_DEBIAN_TOOLS_PACKAGE_SECTION utils)
set(CPACK_DEBIAN_TOOLS_PACKAGE_SHLIBDEPS ON)

if(TARGET varve_service)
  list(APPEND CPACK_COMPONENTS_ALL service)
  set(CPACK_COMPONENT_SERVICE_DESCRIPTION "Hyper-V's snapshot services over Varve's (library)")
  set(CPACK_DEBIAN_SERVICE_PACKAGE_NAME libvarve-service${PROJECT_VERSION_MAJOR})
  set(CPACK_DEBIAN_SERVICE_PACKAGE_SECTION libs)
  set(CPACK_DEBIAN_SERVICE_PACKAGE_SHLIBDEPS ON)
  # The two libraries meet in C++, where versions are not mixed.
  set(CPACK_DEBIAN_SERVICE_PACKAGE_DEPENDS "libvarve${PROJECT_VERSION_MAJOR} (= \
${PROJECT_VERSION})")
  set(CPACK_DEBIAN_SERVICE_PACKAGE_GENERATE_SHLIBS ON)
  set(CPACK_DEBIAN_SERVICE_PACKAGE_GENERATE_SHLIBS_POLICY ">=")
  string(APPEND CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS
    ", libvarve-service${PROJECT_VERSION_MAJOR} (= ${PROJECT_VERSION})")
endif()
if(TARGET varve_nbdkit)
  list(APPEND CPACK_COMPONENTS_ALL nbdkit)
  set(CPACK_COMPONENT_NBDKIT_DESCRIPTION "serves qcow2 disk images over NBD (plugin for nbdkit)")
  set(CPACK_DEBIAN_NBDKIT_PACKAGE_NAME nbdkit-plugin-varve)
  set(CPACK_DEBIAN_NBDKIT_PACKAGE_SECTION admin)
  set(CPACK_DEBIAN_NBDKIT_PACKAGE_SHLIBDEPS ON)
  set(CPACK_DEBIAN_NBDKIT_PACKAGE_DEPENDS nbdkit)
endif()
include(CPack)
