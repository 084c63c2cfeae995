#include "llama/tokenizer.hpp"

#include <algorithm>
#include <array>
#include <limits>

#include "base/big_stack.hpp"
#include "base/error.hpp"
#include "llama.h"

namespace tea::tokenizer {

namespace {

// Some pre-tokenizers are std::regex, which recurses once a character: ~0.4 KB of stack each.
constexpr size_t long_text_bytes = 8192;
constexpr size_t stack_bytes_per_byte = 1024;
constexpr const char* cannot_decode = "llama.cpp cannot write a token";

// llama.cpp asserts that a model which wants BOS or EOS has them.
bool can_add_special(const Model& model) {
    return (!model.adds_bos() || model.bos() >= 0) && (!model.adds_eos() || model.eos() >= 0);
}

// Whether `encode` puts a space before a text, as SentencePiece does.
bool puts_space_before_text(const Model& model) {
    const auto tokens = encode(model, "a", /*add_special=*/false, /*parse_special=*/false);
    return !tokens.empty() && piece(model, tokens.front()).rfind(' ', 0) == 0;
}

// Whether the text behind this token is encoded as if it began there, space included.
bool begins_text_anew(const Model& model, int32_t token) {
    return runtime::guarded(ErrorKind::inference, cannot_decode, [&](const runtime::Guard& guard) {
        constexpr int attributes = LLAMA_TOKEN_ATTR_CONTROL | LLAMA_TOKEN_ATTR_USER_DEFINED;
        const llama_vocab* vocab = model.vocab(guard);
        return llama_vocab_type(vocab) == LLAMA_VOCAB_TYPE_SPM &&
               (llama_vocab_get_attr(vocab, token) & attributes) != 0;
    });
}

std::vector<int32_t> encode_here(const Model& model, std::string_view text, bool add_special,
                                 bool parse_special) {
    std::vector<int32_t> tokens(text.size() + 8);
    const auto tokenize = [&] {
        return runtime::guarded(
            ErrorKind::inference, "llama.cpp could not tokenize the text", [&](const runtime::Guard& guard) {
                return llama_tokenize(model.vocab(guard), text.data(), static_cast<int32_t>(text.size()),
                                      tokens.data(), static_cast<int32_t>(tokens.size()), add_special,
                                      parse_special);
            });
    };
    int32_t n_tokens = tokenize();
    if (n_tokens == std::numeric_limits<int32_t>::min()) {
        throw Error(ErrorKind::inference, "the text has too many tokens to count");
    }
    if (n_tokens < 0) {  // the buffer was too small; this is the size it needs
        tokens.resize(static_cast<size_t>(-static_cast<int64_t>(n_tokens)));
        n_tokens = tokenize();
    }
    tokens.resize(static_cast<size_t>(n_tokens));
    return tokens;
}

}  // namespace

std::vector<int32_t> encode(const Model& model, std::string_view text, bool add_special, bool parse_special) {
    if (text.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max()) / 2) {
        throw Error(ErrorKind::invalid_argument,
                    "a text of " + std::to_string(text.size()) + " bytes is too long to tokenize at once");
    }
    add_special = add_special && can_add_special(model);
    if (text.size() <= long_text_bytes) {
        return encode_here(model, text, add_special, parse_special);
    }
    std::vector<int32_t> tokens;
    run_on_big_stack(text.size() * stack_bytes_per_byte,
                     [&] { tokens = encode_here(model, text, add_special, parse_special); });
    return tokens;
}

std::string decode(const Model& model, const std::vector<int32_t>& tokens) {
    check_ids(model, tokens);
    auto begin = tokens.begin();
    auto end = tokens.end();
    const auto is_last = [&](int32_t id) { return begin != end && *(end - 1) == id; };
    if (begin != end && model.adds_bos() && *begin == model.bos()) {
        ++begin;
    }
    if ((model.adds_eos() && is_last(model.eos())) || (model.adds_sep() && is_last(model.sep()))) {
        --end;
    }
    // llama_detokenize would also take spaces away that `encode` has not put there, before punctuation.
    const bool puts_spaces = puts_space_before_text(model);
    bool has_put_space = puts_spaces;
    std::string text;
    for (; begin != end; ++begin) {
        const std::string bytes = piece(model, *begin, /*shows_control=*/true);
        text.append(bytes, has_put_space && bytes.rfind(' ', 0) == 0 ? 1 : 0, std::string::npos);
        has_put_space = puts_spaces && begins_text_anew(model, *begin);
    }
    return text;
}

std::vector<int32_t> encode_further(const Model& model, const std::string& text) {
    const std::string mark = "\x01";  // a character that no token joins with others
    auto tokens = encode(model, mark + text, /*add_special=*/false, /*parse_special=*/true);
    const auto is_mark = [&](int32_t token) { return piece(model, token) == mark; };
    const auto found = std::find_if(tokens.begin(), tokens.end(), is_mark);
    if (found == tokens.end()) {
        return encode(model, text, /*add_special=*/false, /*parse_special=*/true);
    }
    tokens.erase(tokens.begin(), found + 1);
    return tokens;
}

std::string piece(const Model& model, int32_t token, bool shows_control) {
    std::array<char, 64> buffer;
    const auto render = [&](char* data, size_t size) {
        return runtime::guarded(ErrorKind::inference, cannot_decode, [&](const runtime::Guard& guard) {
            return llama_token_to_piece(model.vocab(guard), token, data, static_cast<int32_t>(size),
                                        /*lstrip=*/0, shows_control);
        });
    };
    const int32_t n_bytes = render(buffer.data(), buffer.size());
    if (n_bytes >= 0) {
        return {buffer.data(), static_cast<size_t>(n_bytes)};
    }
    std::string text(static_cast<size_t>(-n_bytes), '\0');
    render(text.data(), text.size());
    return text;
}

size_t longest_piece(const Model& model) {
    size_t longest = 0;
    for (int32_t token = 0; token < model.n_vocab(); ++token) {
        longest = std::max(longest, piece(model, token, /*shows_control=*/true).size());
    }
    return longest;
}

void check_ids(const Model& model, const std::vector<int32_t>& tokens) {
    for (size_t i = 0; i < tokens.size(); ++i) {
        if (tokens[i] < 0 || tokens[i] >= model.n_vocab()) {
            throw Error(ErrorKind::invalid_argument,
                        "token id " + std::to_string(tokens[i]) + " at index " + std::to_string(i) +
                            " is not in the vocabulary (0 to " + std::to_string(model.n_vocab() - 1) + ")");
        }
    }
}

}  // namespace tea::tokenizer
