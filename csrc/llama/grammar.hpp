#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "llama/handle.hpp"
#include "llama/model.hpp"

namespace tea {

// A GBNF grammar (llama.cpp's grammars/README.md) and its state after the tokens it has accepted.
//
// One per request, used by one thread at a time.
class Grammar {
  public:
    // `model` must outlive it. `prefix`: a text that the grammar has taken already. Throws Error{grammar}
    // when it is not a grammar, too large or too deep for llama.cpp's parser, or does not begin with
    // `prefix`.
    Grammar(const Model& model, const std::string& gbnf, const std::string& prefix = "");

    // Of these tokens, those that may come next; an end-of-generation token when the text may end.
    std::vector<bool> allowed(const std::vector<int32_t>& tokens) const;
    // Appends an allowed token to the text.
    void accept(int32_t token);

  private:
    bool keeps_utf8(int32_t token) const;

    const Model& model_;
    Handle<llama_sampler> sampler_;
    std::string unfinished_;  // bytes of a character at the end of the text
};

}  // namespace tea
