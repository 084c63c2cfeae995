#pragma once

namespace tea::runtime {

// Brings llama.cpp up, once; cheap when it is up. Every entry into llama.cpp comes after this.
void initialize();

}  // namespace tea::runtime
