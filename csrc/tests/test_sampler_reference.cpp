// Our samplers against llama.cpp's own, over random options and rows: the same tokens with the same chances.

#include <cmath>
#include <map>
#include <memory>
#include <random>

#include "llama-cpp.h"
#include "sampling/sampler.hpp"
#include "tests/check.hpp"

using tea::Sampler;
using tea::SamplingOptions;

namespace {

constexpr int32_t n_vocab = 400;

using Chances = std::map<int32_t, double>;

std::vector<float> random_row(std::mt19937& random, float width) {
    std::normal_distribution<float> normal(0, width);
    std::vector<float> row(n_vocab);
    for (auto& logit : row) {
        logit = normal(random);
    }
    return row;
}

// llama.cpp's chain for these options, in the order of common/sampling.cpp.
llama_sampler_ptr chain_of(const SamplingOptions& o, const std::vector<int32_t>& history) {
    llama_sampler_ptr chain(llama_sampler_chain_init(llama_sampler_chain_default_params()));
    const auto add = [&](llama_sampler* sampler) { llama_sampler_chain_add(chain.get(), sampler); };
    if (!o.logit_bias.empty()) {
        std::vector<llama_logit_bias> biases;
        for (const auto& [token, bias] : o.logit_bias) {
            biases.push_back({token, bias});
        }
        add(llama_sampler_init_logit_bias(n_vocab, static_cast<int32_t>(biases.size()), biases.data()));
    }
    if (o.mirostat == 2) {
        add(llama_sampler_init_temp(o.temperature));
        add(llama_sampler_init_mirostat_v2(1, o.mirostat_tau, o.mirostat_eta));
    } else {
        const auto n_history = static_cast<int32_t>(history.size());
        const auto last = [&](int32_t n) { return n < 0 ? n_history : n; };
        add(llama_sampler_init_penalties(n_vocab, last(o.repeat_last_n), o.repeat_penalty,
                                         o.frequency_penalty, o.presence_penalty));
        add(llama_sampler_init_dry(nullptr, o.dry_multiplier, o.dry_base, o.dry_allowed_length,
                                   last(o.dry_penalty_last_n), nullptr, 0));
        add(llama_sampler_init_top_k(o.top_k));
        add(llama_sampler_init_typical(o.typical_p, 0));
        add(llama_sampler_init_top_p(o.top_p, 0));
        add(llama_sampler_init_min_p(o.min_p, 0));
        add(llama_sampler_init_xtc(o.xtc_probability, o.xtc_threshold, 0, 1));
        add(llama_sampler_init_temp(o.temperature));
    }
    for (const int32_t token : history) {
        llama_sampler_accept(chain.get(), token);
    }
    return chain;
}

Chances theirs(const SamplingOptions& o, const std::vector<int32_t>& history, const std::vector<float>& row) {
    std::vector<llama_token_data> data;
    for (int32_t token = 0; token < n_vocab; ++token) {
        data.push_back({token, row[static_cast<size_t>(token)], 0});
    }
    llama_token_data_array array{data.data(), data.size(), -1, false};
    const auto chain = chain_of(o, history);
    llama_sampler_apply(chain.get(), &array);
    double best = -1e30;
    for (size_t i = 0; i < array.size; ++i) {
        best = std::max(best, static_cast<double>(array.data[i].logit));
    }
    Chances chances;
    double total = 0;
    for (size_t i = 0; i < array.size; ++i) {
        total += chances[array.data[i].id] = std::exp(static_cast<double>(array.data[i].logit) - best);
    }
    for (auto& entry : chances) {
        entry.second /= total;
    }
    return chances;
}

Chances ours(SamplingOptions o, const std::vector<int32_t>& history, std::vector<float> row) {
    o.dry_sequence_breakers.clear();
    Sampler sampler(o, {});
    for (const int32_t token : history) {
        sampler.accept(token, "x");
    }
    Chances chances;
    for (const auto& [token, probability] : sampler.chances(row.data(), n_vocab)) {
        chances[token] = probability;
    }
    return chances;
}

// A token at the very edge of a filter may fall to either side by rounding; what is out of our reach weighs
// nothing.
void check_same(const Chances& a, const Chances& b) {
    int n_different = 0;
    for (const auto& [one, other] : {std::pair(a, b), std::pair(b, a)}) {
        for (const auto& [token, probability] : one) {
            n_different += other.count(token) == 0 && probability > 1e-9 ? 1 : 0;
        }
    }
    CHECK(n_different <= 1);
    for (const auto& [token, probability] : a) {
        const auto found = b.find(token);
        const double expected = found == b.end() ? 0 : found->second;
        CHECK(std::abs(expected - probability) < (n_different == 0 ? 1e-3 * probability + 1e-9 : 0.03));
    }
}

}  // namespace

TEST_CASE("random options: the same tokens with the same chances as llama.cpp") {
    std::mt19937 random(11);
    const auto chance = [&] { return std::uniform_real_distribution<float>(0, 1)(random); };
    const auto below = [&](int32_t n) { return static_cast<int32_t>(random() % static_cast<uint32_t>(n)); };
    int n_nontrivial = 0;
    for (int round = 0; round < 3000; ++round) {
        SamplingOptions o;
        o.temperature = 0.2F + (below(4) == 0 ? 20 : 2) * chance();
        o.top_k = below(2) == 0 ? 0 : 1 + below(100);
        o.top_p = below(2) == 0 ? 1 : chance();
        o.min_p = below(2) == 0 ? 0 : chance() / 4;
        o.typical_p = below(3) == 0 ? chance() : 1;
        if (below(3) == 0) {
            o.xtc_probability = 1;
            o.xtc_threshold = chance() / 2;
        }
        if (below(3) == 0) {
            o.repeat_penalty = 0.5F + chance() * 2;
            o.presence_penalty = chance() - 0.5F;
            o.frequency_penalty = chance() - 0.5F;
            o.repeat_last_n = below(3) == 0 ? -1 : below(60);
        }
        if (below(3) == 0) {
            o.dry_multiplier = chance() * 2;
            o.dry_base = 1 + chance();
            o.dry_allowed_length = 1 + below(4);
            o.dry_penalty_last_n = below(3) == 0 ? -1 : below(60);
        }
        if (below(3) == 0) {
            o.logit_bias = {{below(n_vocab), 10 * chance() - 5}, {n_vocab - 1, 3}};
        }
        if (below(6) == 0) {
            o.mirostat = 2;
            o.mirostat_tau = 1 + 5 * chance();
            o.repeat_penalty = 1;
            o.presence_penalty = o.frequency_penalty = o.dry_multiplier = 0;
        }
        std::vector<int32_t> history(static_cast<size_t>(below(80)));
        for (auto& token : history) {
            token = below(2) == 0 ? below(6) : below(n_vocab);
        }
        const auto row = random_row(random, 1 + 4 * chance());
        const auto expected = theirs(o, history, row);
        check_same(ours(o, history, row), expected);
        n_nontrivial += expected.size() > 1 ? 1 : 0;
    }
    CHECK(n_nontrivial > 2000);
}

TEST_MAIN
