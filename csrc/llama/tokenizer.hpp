#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "llama/model.hpp"

// Text to token ids and back. Any thread; the model is only read.

namespace tea::tokenizer {

// `text` is UTF-8. add_special: the tokens the model wants around a text (BOS, EOS), where it wants
// any. parse_special: the texts of control tokens become those tokens.
// Throws Error{inference} when llama.cpp cannot.
std::vector<int32_t> encode(const Model& model, std::string_view text, bool add_special, bool parse_special);

// The inverse: bytes, not always valid UTF-8. The tokens and spaces that `encode` adds are left out, all
// other tokens are written as their text. Throws Error{invalid_argument} for an id outside the vocabulary.
std::string decode(const Model& model, const std::vector<int32_t>& tokens);

// Bytes that one generated token adds to the answer; empty for control tokens unless they are shown.
std::string piece(const Model& model, int32_t token, bool shows_control = false);

// Bytes of the token with the longest text.
size_t longest_piece(const Model& model);

// The tokens of a text that continues another one: without the space that some tokenizers put before a
// text. Control tokens in it are parsed.
std::vector<int32_t> encode_further(const Model& model, const std::string& text);

// Throws Error{invalid_argument} that names the first id outside [0, n_vocab).
void check_ids(const Model& model, const std::vector<int32_t>& tokens);

}  // namespace tea::tokenizer
