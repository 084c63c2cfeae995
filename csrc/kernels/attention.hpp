#pragma once

namespace tea::kernels {

// Has ggml's CPU backend compute attention of few tokens by attention.cpp. Call it before anything is
// computed; more than once does nothing more. Where the backend is a module, that does it itself when it is
// loaded.
void register_attention();

}  // namespace tea::kernels
