#pragma once

#include "base/options.hpp"
#include "bindings/common.hpp"

namespace tea::bindings {

// Sampling options by their names in SamplingOptions; those that are not given keep their defaults. Throws
// TypeError for a name that there is not.
SamplingOptions sampling_options(const py::dict& given);

}  // namespace tea::bindings
