# Headers, both libraries, the CMake package and the pkg-config file; the tool, when it is built.
# Five components: `runtime` (what a program linked with the shared library needs), `service` (and
# with the services'), `development`, `tools` and `nbdkit`; cmake/Packages.cmake makes a Debian
# package of each.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(TARGETS varve_static EXPORT VarveTargets COMPONENT development)
install(TARGETS varve_shared EXPORT VarveTargets LIBRARY COMPONENT runtime
  NAMELINK_COMPONENT development)
# An export of its own: only programs that ask for the component need pugixml.
if(TARGET varve_service)
  install(TARGETS varve_service EXPORT VarveServiceTargets COMPONENT development)
  install(TARGETS varve_service_shared EXPORT VarveServiceTargets LIBRARY COMPONENT service
    NAMELINK_COMPONENT development)
endif()
install(DIRECTORY include/varve DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT development
  FILES_MATCHING PATTERN "*.h")
if(TARGET varve_tool)
  get_target_property(is_left_out varve_tool EXCLUDE_FROM_ALL)
  if(NOT is_left_out)
    install(TARGETS varve_tool COMPONENT tools)
    install(DIRECTORY docs/man/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT tools)
    install(FILES tools/completion/varve.bash COMPONENT tools RENAME varve
      DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
    install(FILES tools/completion/_varve COMPONENT tools
      DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions)
  endif()
endif()

if(TARGET varve_nbdkit)
  install(TARGETS varve_nbdkit LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/nbdkit/plugins
    COMPONENT nbdkit)
endif()

set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/Varve)
install(EXPORT VarveTargets NAMESPACE Varve:: DESTINATION ${package_folder}
  COMPONENT development)
if(TARGET varve_service)
  install(EXPORT VarveServiceTargets NAMESPACE Varve:: DESTINATION ${package_folder}
    COMPONENT development)
endif()
configure_package_config_file(cmake/VarveConfig.cmake.in
  ${PROJECT_BINARY_DIR}/package/VarveConfig.cmake INSTALL_DESTINATION ${package_folder})
# 0.x promises nothing between minor versions.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/package/VarveConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/package/VarveConfig.cmake
  ${PROJECT_BINARY_DIR}/package/VarveConfigVersion.cmake cmake/Dependencies.cmake
  DESTINATION ${package_folder} COMPONENT development)

# The prefix is found from the file's own place, so an installed tree can be moved.
file(RELATIVE_PATH VARVE_PREFIX_FROM_PC /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" VARVE_PREFIX_FROM_PC "${VARVE_PREFIX_FROM_PC}")
set(package_names varve)
if(TARGET varve_service)
  list(APPEND package_names varve-service)
endif()
foreach(name ${package_names})
  configure_file(cmake/${name}.pc.in ${PROJECT_BINARY_DIR}/package/${name}.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/package/${name}.pc
    DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT development)
endforeach()

if(PROJECT_IS_TOP_LEVEL)
  include(cmake/Packages.cmake)
endif()
