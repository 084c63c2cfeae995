#pragma once

#include "bindings/common.hpp"
#include "engine/options.hpp"

namespace tea::bindings {

// Sampling options by their names in SamplingOptions; those that are not given keep their defaults. Throws
// TypeError for a name that there is not.
SamplingOptions sampling_options(const py::dict& given);

}  // namespace tea::bindings
