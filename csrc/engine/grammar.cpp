#include "engine/grammar.hpp"

#include <cmath>
#include <exception>
#include <string_view>

#include "engine/big_stack.hpp"
#include "engine/runtime.hpp"
#include "engine/tokenizer.hpp"
#include "engine/utf8.hpp"

namespace tea {

namespace {

constexpr size_t largest = 4 << 20;  // bytes
constexpr int32_t deepest = 256;     // parentheses: llama.cpp's parser is recursive
constexpr size_t parser_stack = 64 << 20;

// Checks what llama.cpp's parser does not survive.
void check_size(const std::string& gbnf) {
    if (gbnf.size() > largest) {
        throw Error(ErrorKind::grammar, "the grammar has " + std::to_string(gbnf.size()) +
                                            " bytes; the most is " + std::to_string(largest));
    }
    if (gbnf.find('\0') != std::string::npos) {
        throw Error(ErrorKind::grammar, "the grammar holds a NUL character");
    }
    int32_t depth = 0;
    for (const char c : gbnf) {
        depth += c == '(' ? 1 : c == ')' ? -1 : 0;
        if (depth > deepest) {
            throw Error(ErrorKind::grammar, "the grammar's parentheses are nested more than " +
                                                std::to_string(deepest) + " deep");
        }
    }
}

// Runs what llama.cpp may answer with an exception or an abort. The grammar is of no use then.
template <typename Work>
void guarded(const char* what, Work work) {
    try {
        const runtime::AbortGuard guard;
        work();
        guard.check();
    } catch (const std::exception& error) {
        throw Error(ErrorKind::grammar, std::string(what) + ": " + error.what());
    }
}

}  // namespace

Grammar::Grammar(const Model& model, const std::string& gbnf, const std::string& prefix) : model_(model) {
    check_size(gbnf);
    run_on_big_stack(parser_stack, [&] {
        guarded("llama.cpp cannot read the grammar",
                [&] { sampler_.reset(llama_sampler_init_grammar(model.vocab(), gbnf.c_str(), "root")); });
    });
    if (!sampler_) {
        throw Error(ErrorKind::grammar, "not a valid GBNF grammar with a rule named root (see stderr)");
    }
    // One by one: behind a control token some vocabularies begin the text with a space.
    for (size_t begin = 0; begin < prefix.size();) {
        const size_t n_bytes = utf8::decode_one(std::string_view(prefix).substr(begin)).n_bytes;
        for (const int32_t token : tokenizer::encode_further(model, prefix.substr(begin, n_bytes))) {
            accept(token);
        }
        begin += n_bytes;
    }
}

std::vector<bool> Grammar::allowed(const std::vector<int32_t>& tokens) const {
    std::vector<llama_token_data> candidates;
    candidates.reserve(tokens.size());
    for (const int32_t token : tokens) {
        candidates.push_back({token, 0, 0});
    }
    llama_token_data_array array{candidates.data(), candidates.size(), -1, false};
    guarded("the grammar failed", [&] { llama_sampler_apply(sampler_.get(), &array); });
    std::vector<bool> allowed;
    allowed.reserve(tokens.size());
    for (const auto& candidate : candidates) {
        allowed.push_back(std::isfinite(candidate.logit) && keeps_utf8(candidate.id));
    }
    return allowed;
}

// llama.cpp's grammars read overlong sequences as the characters that they stand for.
bool Grammar::keeps_utf8(int32_t token) const {
    if (model_.is_end_of_generation(token)) {
        return true;
    }
    const std::string bytes = unfinished_ + tokenizer::piece(model_, token);
    for (size_t begin = 0; begin < bytes.size();) {
        const auto decoded = utf8::decode_one(std::string_view(bytes).substr(begin));
        if (!decoded.is_valid) {
            return decoded.is_unfinished;
        }
        begin += decoded.n_bytes;
    }
    return true;
}

void Grammar::accept(int32_t token) {
    guarded("the grammar cannot take a token", [&] { llama_sampler_accept(sampler_.get(), token); });
    unfinished_ += tokenizer::piece(model_, token);
    for (size_t n = 1; n > 0 && !unfinished_.empty();) {
        const auto decoded = utf8::decode_one(unfinished_);
        n = decoded.is_unfinished ? 0 : decoded.n_bytes;
        unfinished_.erase(0, n);
    }
}

}  // namespace tea
