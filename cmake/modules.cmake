# The wheel's native files beside the extension, in tea_llm/lib: ggml's two libraries, and a module for each kind of CPU
# and each GPU backend, which csrc/llama/backend_modules.cpp loads. Their names are our own: a process may hold
# another copy of ggml, and the loader takes a library of a known name for one that is there already.

set(tea_llm_modules)
foreach(backend ${GGML_AVAILABLE_BACKENDS}) # names such as ggml-cpu-haswell; of ggml's CMake
  if(TARGET ${backend}) # the list is cached: it may name backends of an earlier configuration
    list(APPEND tea_llm_modules ${backend})
  endif()
endforeach()

set(tea_llm_shared ggml-base ggml ${tea_llm_modules})
foreach(target ${tea_llm_shared})
  set_target_properties(
    ${target}
    PROPERTIES OUTPUT_NAME tea-${target}
               LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib
               RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib
               BUILD_WITH_INSTALL_RPATH ON)
  # Versions become symlinks, which wheels cannot hold.
  set_property(TARGET ${target} PROPERTY VERSION)
  set_property(TARGET ${target} PROPERTY SOVERSION)
  if(APPLE)
    set_target_properties(${target} PROPERTIES INSTALL_RPATH "@loader_path")
  else()
    set_target_properties(${target} PROPERTIES INSTALL_RPATH "$ORIGIN")
  endif()
  if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
    target_link_options(${target} PRIVATE -Wl,-Bsymbolic)
  endif()
endforeach()

# GPU backends can come in a package of their own, which is built alone: companions/
set(gpu_modules ${tea_llm_modules})
list(FILTER gpu_modules EXCLUDE REGEX "^ggml-cpu")
if(TEA_LLM_COMPANION)
  if(NOT gpu_modules)
    message(FATAL_ERROR "TEA_LLM_COMPANION=${TEA_LLM_COMPANION} without a GPU backend: set TEA_LLM_CUDA, say")
  endif()
  set_target_properties(
    ${gpu_modules} PROPERTIES INSTALL_RPATH "$ORIGIN/../../tea_llm/lib;$ORIGIN/../../nvidia/cu13/lib")
  install(TARGETS ${gpu_modules} LIBRARY DESTINATION ${TEA_LLM_COMPANION}/lib COMPONENT companion)
  add_custom_target(tea_llm_companion DEPENDS ${gpu_modules})
else()
  install(TARGETS ${tea_llm_shared} LIBRARY DESTINATION tea_llm/lib RUNTIME DESTINATION tea_llm/lib)
endif()
