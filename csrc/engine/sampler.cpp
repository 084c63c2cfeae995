#include "engine/sampler.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "engine/check.hpp"

namespace tea {

namespace {

constexpr float lowest = -std::numeric_limits<float>::infinity();
// What is so far below the best logit weighs nothing: a million such tokens together change no float's sum.
constexpr float weightless = 32;

double weight_of(float log_weight) {
    return static_cast<double>(std::exp(log_weight));
}

}  // namespace

bool Sampler::is_worse(const Candidate& a, const Candidate& b) {
    return a.logit < b.logit;
}

Sampler::Sampler(const SamplingOptions& options, std::vector<int32_t> banned,
                 std::unique_ptr<Grammar> grammar)
    : options_(options),
      banned_(std::move(banned)),
      penalties_(options),
      grammar_(std::move(grammar)),
      random_(options.seed),
      mirostat_mu_(2 * options.mirostat_tau) {
    check_between("temperature", options.temperature, 0, 1e6);
    check_between("top_p", options.top_p, 0, 1);
    check_between("min_p", options.min_p, 0, 1);
    check_between("typical_p", options.typical_p, 0, 1);
    check_between("top_k", options.top_k, 0, std::numeric_limits<int32_t>::max());
    check_between("xtc_probability", options.xtc_probability, 0, 1);
    check_between("xtc_threshold", options.xtc_threshold, 0, 1);
    check_between("mirostat_tau", options.mirostat_tau, 0, 1000);
    check_between("mirostat_eta", options.mirostat_eta, 0, 1000);
    if (options.mirostat != 0 && options.mirostat != 2) {
        throw Error(ErrorKind::invalid_argument,
                    "mirostat=" + std::to_string(options.mirostat) + " is neither 0 nor 2");
    }
}

int32_t Sampler::sample(float* logits, int32_t n_vocab) {
    Candidate picked = pick(logits, n_vocab, prepare(logits, n_vocab));
    if (grammar_) {
        if (!grammar_->allowed({picked.token}).front()) {
            picked = pick_allowed(logits, n_vocab);
        }
        grammar_->accept(picked.token);
    }
    if (options_.mirostat == 2 && !is_greedy()) {
        const auto surprise = static_cast<float>(-std::log2(picked.weight / total_weight()));
        mirostat_mu_ -= options_.mirostat_eta * (surprise - options_.mirostat_tau);
    }
    return picked.token;
}

void Sampler::force(int32_t token) {
    if (grammar_) {
        grammar_->accept(token);
    }
}

Sampler::Candidate Sampler::pick(const float* logits, int32_t n_vocab, int32_t best) {
    if (is_greedy()) {
        return {best, logits[best], 1};
    }
    gather(logits, n_vocab, logits[best]);
    filter(logits[best]);
    return draw();
}

Sampler::Candidate Sampler::pick_allowed(const float* logits, int32_t n_vocab) {
    candidates_ = find_allowed(logits, n_vocab);
    if (candidates_.empty()) {
        throw Error(ErrorKind::grammar, "the grammar allows no token that the model has, and no end either");
    }
    const Candidate best = candidates_.front();
    if (is_greedy()) {
        return best;
    }
    n_out_of_reach_ = 0;
    weigh(best.logit, 1);
    filter(best.logit);
    return draw();
}

// Gathers from what the grammar allows, the best first. No more tokens are tested than can matter.
std::vector<Sampler::Candidate> Sampler::find_allowed(const float* logits, int32_t n_vocab) const {
    std::vector<Candidate> found;
    const bool has_top_k = options_.top_k > 0 && options_.mirostat == 0;
    const auto n_wanted = static_cast<size_t>(is_greedy() ? 1 : has_top_k ? options_.top_k : n_vocab);
    size_t n_tested = 0;
    for (const int32_t n_looked_at : {64, 1024, n_vocab}) {
        const auto ordered = top_logits(logits, n_vocab, std::min(n_looked_at, n_vocab));
        std::vector<int32_t> tokens;
        for (size_t i = n_tested; i < ordered.size(); ++i) {
            tokens.push_back(ordered[i].token);
        }
        const std::vector<bool> allowed = grammar_->allowed(tokens);
        for (size_t i = 0; i < tokens.size() && found.size() < n_wanted; ++i) {
            if (allowed[i]) {
                found.push_back({tokens[i], ordered[n_tested + i].logit, 0});
            }
        }
        n_tested = ordered.size();
        const bool is_enough =
            found.size() == n_wanted ||
            (!found.empty() && !ordered.empty() && ordered.back().logit < found.front().logit - reach());
        if (is_enough) {
            break;
        }
    }
    return found;
}

std::vector<Sampler::Chance> Sampler::chances(float* logits, int32_t n_vocab) {
    const int32_t best = prepare(logits, n_vocab);
    gather(logits, n_vocab, logits[best]);
    filter(logits[best]);
    const double total = total_weight();
    std::vector<Chance> chances;
    for (const auto& candidate : candidates_) {
        chances.push_back({candidate.token, candidate.weight / total});
    }
    return chances;
}

bool Sampler::is_greedy() const {
    return options_.temperature == 0 || (options_.top_k == 1 && options_.mirostat == 0);
}

// Applies what changes logits. Returns the best token.
int32_t Sampler::prepare(float* logits, int32_t n_vocab) {
    for (const auto& [token, bias] : options_.logit_bias) {
        logits[token] += bias;
    }
    if (penalties_.is_active()) {
        penalties_.apply(logits);
    }
    for (const int32_t token : banned_) {
        logits[token] = lowest;
    }
    const int32_t best = argmax(logits, n_vocab);
    if (best < 0) {
        throw Error(ErrorKind::inference,
                    "the model gave no finite logits: its weights are damaged, or every token is excluded");
    }
    return best;
}

// How far below the best logit a token may be drawn, if no filter says otherwise.
float Sampler::reach() const {
    return weightless * std::max(1.0F, options_.temperature);
}

// Leaves in candidates_ what may be drawn, weighed at the temperature.
void Sampler::filter(float best) {
    if (options_.mirostat == 2) {
        keep_unsurprising(best);
        return;
    }
    if (options_.typical_p < 1) {
        keep_typical();
    }
    if (options_.top_p < 1) {
        keep_top_p();
    }
    n_out_of_reach_ = 0;
    if (options_.min_p > 0) {
        keep_min_p();
    }
    if (options_.xtc_probability > 0 && random_fraction() <= static_cast<double>(options_.xtc_probability)) {
        keep_below_threshold();
    }
    weigh(best, options_.temperature);
}

// The top-k tokens, best first, or all. Those that min-p will leave out anyway are only weighed, not kept.
void Sampler::gather(const float* logits, int32_t n_vocab, float best) {
    candidates_.clear();
    n_out_of_reach_ = 0;
    if (options_.top_k > 0 && options_.top_k < n_vocab && options_.mirostat == 0) {
        for (const auto& [token, logit] : top_logits(logits, n_vocab, options_.top_k)) {
            candidates_.push_back({token, logit, 0});
        }
        weigh(best, 1);
        return;
    }
    const bool needs_all = options_.typical_p < 1 || options_.mirostat == 2;
    const float least = options_.min_p > 0 && !needs_all ? best + std::log(options_.min_p) : best - reach();
    const float least_weighed = options_.top_p < 1 ? best - reach() : least;
    for_each_from(logits, n_vocab, least_weighed, [&](int32_t token, float logit) {
        if (logit >= least) {
            candidates_.push_back({token, logit, 0});
        } else {
            n_out_of_reach_ += weight_of(logit - best);
        }
    });
    weigh(best, 1);
}

void Sampler::weigh(float best, float temperature) {
    for (auto& candidate : candidates_) {
        candidate.weight = weight_of((candidate.logit - best) / temperature);
    }
}

double Sampler::total_weight() const {
    double total = n_out_of_reach_;
    for (const auto& candidate : candidates_) {
        total += candidate.weight;
    }
    return total;
}

// Keeps those whose surprise is nearest to the expected one, until their chances exceed typical_p.
void Sampler::keep_typical() {
    const double total = total_weight();
    double entropy = 0;
    for (const auto& candidate : candidates_) {
        const double p = candidate.weight / total;
        entropy -= p > 0 ? p * std::log(p) : 0;
    }
    const auto distance = [&](const Candidate& candidate) {
        return std::abs(-std::log(candidate.weight / total) - entropy);
    };
    std::sort(candidates_.begin(), candidates_.end(),
              [&](const Candidate& a, const Candidate& b) { return distance(a) < distance(b); });
    double sum = 0;
    size_t n_kept = 0;
    while (n_kept < candidates_.size() && sum <= static_cast<double>(options_.typical_p) * total) {
        sum += candidates_[n_kept++].weight;
    }
    candidates_.resize(n_kept);
}

// Keeps the fewest best whose chances reach top_p, at least one. Only those that are about as good as the
// last one are sorted: the others are told apart by a histogram.
void Sampler::keep_top_p() {
    constexpr size_t n_bins = 1024;
    const float best = std::max_element(candidates_.begin(), candidates_.end(), is_worse)->logit;
    const auto bin_of = [&](const Candidate& candidate) {
        const float distance = (best - candidate.logit) * (static_cast<float>(n_bins) / weightless);
        return static_cast<size_t>(std::min(distance, static_cast<float>(n_bins - 1)));
    };
    std::array<double, n_bins> bins{};
    for (const auto& candidate : candidates_) {
        bins[bin_of(candidate)] += candidate.weight;
    }
    const double enough = static_cast<double>(options_.top_p) * total_weight();
    double sum = 0;
    size_t last = 0;
    while (last + 1 < n_bins && sum + bins[last] < enough) {
        sum += bins[last++];
    }
    std::vector<Candidate> edge;
    const auto leaves = [&](const Candidate& candidate) {
        const size_t bin = bin_of(candidate);
        if (bin == last) {
            edge.push_back(candidate);
        }
        return bin >= last;
    };
    candidates_.erase(std::remove_if(candidates_.begin(), candidates_.end(), leaves), candidates_.end());
    std::sort(edge.begin(), edge.end(), [](const Candidate& a, const Candidate& b) {
        return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
    });
    for (size_t i = 0; i < edge.size() && (candidates_.empty() || sum < enough); ++i) {
        sum += edge[i].weight;
        candidates_.push_back(edge[i]);
    }
}

// Keeps those at least min_p times as likely as the best one.
void Sampler::keep_min_p() {
    const float best = std::max_element(candidates_.begin(), candidates_.end(), is_worse)->logit;
    const float least = best + std::log(options_.min_p);
    candidates_.erase(std::remove_if(candidates_.begin(), candidates_.end(),
                                     [&](const Candidate& candidate) { return candidate.logit < least; }),
                      candidates_.end());
}

// XTC: of those at least as likely as the threshold, keeps only the least likely, and all the others.
void Sampler::keep_below_threshold() {
    if (options_.xtc_threshold > 0.5F || candidates_.size() < 2) {
        return;
    }
    const double least = static_cast<double>(options_.xtc_threshold) * total_weight();
    std::sort(candidates_.begin(), candidates_.end(),
              [](const Candidate& a, const Candidate& b) { return a.weight > b.weight; });
    const auto end = std::find_if(candidates_.begin(), candidates_.end(),
                                  [&](const Candidate& candidate) { return candidate.weight < least; });
    if (end - candidates_.begin() > 1) {
        candidates_.erase(candidates_.begin(), end - 1);
    }
}

// Mirostat 2: keeps those whose surprise is at most mu, which follows from what was drawn before.
void Sampler::keep_unsurprising(float best) {
    weigh(best, options_.temperature);
    const double least_weight = total_weight() * std::exp2(-static_cast<double>(mirostat_mu_));
    const auto is_left_out = [&](const Candidate& candidate) {
        return candidate.weight < least_weight && candidate.logit != best;
    };
    candidates_.erase(std::remove_if(candidates_.begin(), candidates_.end(), is_left_out), candidates_.end());
}

const Sampler::Candidate& Sampler::draw() {
    const double point = random_fraction() * total_weight();
    double sum = 0;
    for (const auto& candidate : candidates_) {
        sum += candidate.weight;
        if (point < sum) {
            return candidate;
        }
    }
    return candidates_.front();  // rounding left `point` at the very end
}

// 53 random bits: the same number from the same seed with every standard library.
double Sampler::random_fraction() {
    return static_cast<double>(random_() >> 11) * 0x1.0p-53;
}

}  // namespace tea
