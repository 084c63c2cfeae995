#pragma once

#include <sstream>

#include "base/error.hpp"

namespace tea {

// Throws Error{invalid_argument} naming an argument that is not within [low, high], or not a number.
template <typename Value, typename Low, typename High>
void check_between(const char* name, Value value, Low low, High high) {
    if (!(static_cast<double>(value) >= static_cast<double>(low) &&
          static_cast<double>(value) <= static_cast<double>(high))) {
        std::ostringstream message;
        message << name << '=' << value << " is not between " << low << " and " << high;
        throw Error(ErrorKind::invalid_argument, message.str());
    }
}

}  // namespace tea
