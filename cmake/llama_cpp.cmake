# llama.cpp as static libraries with hidden symbols, ready to go into one extension module. With TEA_LLM_CPU=all ggml is
# shared, since its kernels are modules then: docs/adr/0010-cpu-variants.md

if(TEA_LLM_LLAMA_CPP_DIR)
  set(llama_cpp_dir ${TEA_LLM_LLAMA_CPP_DIR})
else()
  set(llama_cpp_dir ${PROJECT_SOURCE_DIR}/vendor/llama.cpp)
endif()
if(NOT TEA_LLM_LLAMA_CPP_DIR AND NOT EXISTS ${PROJECT_SOURCE_DIR}/PKG-INFO) # an sdist, which has that file, brings it
  execute_process(
    COMMAND ${Python_EXECUTABLE} ${PROJECT_SOURCE_DIR}/vendor/fetch.py
    RESULT_VARIABLE fetch_result ERROR_VARIABLE fetch_error OUTPUT_QUIET)
  if(fetch_result)
    message(FATAL_ERROR "${fetch_error}")
  endif()
endif()
if(NOT EXISTS ${llama_cpp_dir}/include/llama.h)
  message(FATAL_ERROR "${llama_cpp_dir} holds no llama.cpp (include/llama.h is missing)")
endif()

if(NOT TEA_LLM_CPU MATCHES "^(native|all)$")
  message(FATAL_ERROR "TEA_LLM_CPU=${TEA_LLM_CPU}: 'native' or 'all'")
endif()

# Why no OpenMP: docs/adr/0003-no-openmp.md
set(GGML_OPENMP OFF)
set(GGML_LLAMAFILE ON) # faster products of matrices; llama.cpp's default, not ggml's
set(GGML_CUDA_GRAPHS ON) # the same
set(GGML_CCACHE OFF) # ours is set for all targets
foreach(backend CUDA METAL VULKAN HIP)
  set(GGML_${backend} ${TEA_LLM_${backend}})
endforeach()
if(TEA_LLM_CPU STREQUAL "all")
  set(GGML_NATIVE OFF)
  set(GGML_BACKEND_DL ON)
  set(GGML_CPU_ALL_VARIANTS ON)
else()
  set(GGML_NATIVE ON)
  set(GGML_BACKEND_DL OFF)
  set(GGML_CPU_ALL_VARIANTS OFF)
endif()
set(GGML_BUILD_TESTS OFF)
set(GGML_BUILD_EXAMPLES OFF)
set(LLAMA_BUILD_COMMON OFF)
set(LLAMA_BUILD_TESTS OFF)
set(LLAMA_BUILD_TOOLS OFF)
set(LLAMA_BUILD_EXAMPLES OFF)
set(LLAMA_BUILD_SERVER OFF)
set(LLAMA_BUILD_APP OFF)
set(LLAMA_OPENSSL OFF)
set(LLAMA_SUBPROCESS OFF)
set(LLAMA_ALL_WARNINGS OFF)
# The abort guard (csrc/llama/abort_guard.cpp) throws through ggml's C frames.
add_compile_options($<$<COMPILE_LANGUAGE:C>:-fexceptions>)
# Keeps our statics apart from those of another copy of llama.cpp in the process.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-fno-gnu-unique>)
endif()

if(TEA_LLM_CPU STREQUAL "all")
  set(BUILD_SHARED_LIBS ON)
  add_subdirectory(${llama_cpp_dir}/ggml ${CMAKE_BINARY_DIR}/ggml EXCLUDE_FROM_ALL)
  include(${CMAKE_CURRENT_LIST_DIR}/modules.cmake)
endif()
set(BUILD_SHARED_LIBS OFF)
add_subdirectory(${llama_cpp_dir} ${CMAKE_BINARY_DIR}/llama.cpp EXCLUDE_FROM_ALL)

# Kernels of our own, in each build of ggml's CPU backend: csrc/kernels/register.cpp
file(GLOB kernel_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/csrc/kernels/*.cpp)
foreach(backend ggml-cpu ${GGML_AVAILABLE_BACKENDS})
  if(TARGET ${backend} AND backend MATCHES "^ggml-cpu")
    target_sources(${backend} PRIVATE ${kernel_sources})
    target_include_directories(${backend} PRIVATE ${PROJECT_SOURCE_DIR}/csrc)
    # The same formula has the same bits wherever it stands: no contraction. GCC finds its own AVX-512 intrinsics
    # uninitialized.
    if(NOT MSVC)
      set_source_files_properties(
        ${llama_cpp_dir}/ggml/src/ggml-cpu/ggml-cpu.c TARGET_DIRECTORY ${backend}
        PROPERTIES COMPILE_OPTIONS "-include;${PROJECT_SOURCE_DIR}/csrc/kernels/patient_wait.h")
      set_source_files_properties(
        ${kernel_sources} TARGET_DIRECTORY ${backend}
        PROPERTIES COMPILE_OPTIONS
                   "-ffp-contract=off;-Wall;-Wextra;-Wconversion;$<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>;$<$<CXX_COMPILER_ID:GNU>:-Wno-uninitialized>;$<$<BOOL:${TEA_LLM_WERROR}>:-Werror>")
    endif()
  endif()
endforeach()

# The part of llama.cpp's common/ that we use: tool-call grammars and their parsing, and what common.cpp
# refers to. Its own target (llama-common) would bring argument parsing, downloads and an HTTP client.
include(${llama_cpp_dir}/common/parsers/sources.cmake)
file(GLOB common_sources ${llama_cpp_dir}/common/chat*.cpp ${llama_cpp_dir}/common/json*.cpp
     ${llama_cpp_dir}/common/jinja/*.cpp ${llama_cpp_dir}/common/ngram-*.cpp)
foreach(name common fit log peg-parser reasoning-budget sampling speculative trie unicode)
  list(APPEND common_sources ${llama_cpp_dir}/common/${name}.cpp)
endforeach()
set(LLAMA_BUILD_NUMBER 0)
configure_file(${llama_cpp_dir}/common/build-info.cpp.in ${CMAKE_BINARY_DIR}/build-info.cpp)
add_library(tea_llama_common STATIC EXCLUDE_FROM_ALL ${common_sources} ${LLAMA_CHAT_PARSERS_SOURCES}
            ${CMAKE_BINARY_DIR}/build-info.cpp)
if(NOT MSVC)
  target_compile_options(tea_llama_common PRIVATE -ffunction-sections -fdata-sections)
endif()
target_include_directories(tea_llama_common SYSTEM PUBLIC ${llama_cpp_dir}/common)
target_link_libraries(tea_llama_common PUBLIC llama vendor::nlohmann Threads::Threads)
