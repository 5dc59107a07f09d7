# What the library itself links. VarveConfig.cmake includes this file too, so that a program which
# links the static library finds the same targets.
include(CMakeFindDependencyMacro)
find_dependency(Threads)
find_dependency(ZLIB)
find_dependency(PkgConfig)
if(NOT TARGET PkgConfig::ZSTD)
  pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET GLOBAL libzstd)
endif()
if(NOT TARGET PkgConfig::URING)
  pkg_check_modules(URING REQUIRED IMPORTED_TARGET GLOBAL liburing)
endif()
