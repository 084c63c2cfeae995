#include "sampling/sampler.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "base/check.hpp"
#include "sampling/exp.hpp"

namespace tea {

namespace {

constexpr float lowest = -std::numeric_limits<float>::infinity();
// A token this far below the best logit weighs nothing: a million of them together change no float's sum.
constexpr float weightless = 32;
constexpr float in_sight = 10;  // how far below the best logit top-p looks at first
constexpr size_t max_sorted = 4096;

double weight_of(float log_weight) {
    return static_cast<double>(exp_of_negative(log_weight));
}

}  // namespace

bool Sampler::is_worse(const Candidate& a, const Candidate& b) {
    return a.logit < b.logit;
}

bool Sampler::is_better(const Candidate& a, const Candidate& b) {
    return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
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
    const LogitRow row = prepare(logits, n_vocab);
    Candidate picked = pick(row);
    if (grammar_) {
        if (!grammar_->allowed({picked.token}).front()) {
            picked = pick_allowed(row);
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

Sampler::Candidate Sampler::pick(const LogitRow& row) {
    const float best = row[row.best()];
    if (is_greedy()) {
        return {row.best(), best, 1};
    }
    gather(row);
    filter(best);
    return draw();
}

Sampler::Candidate Sampler::pick_allowed(const LogitRow& row) {
    candidates_ = find_allowed(row);
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
std::vector<Sampler::Candidate> Sampler::find_allowed(const LogitRow& row) const {
    std::vector<Candidate> found;
    const int32_t n_vocab = row.n_vocab();
    const bool has_top_k = options_.top_k > 0 && options_.mirostat == 0;
    const auto n_wanted = static_cast<size_t>(is_greedy() ? 1 : has_top_k ? options_.top_k : n_vocab);
    size_t n_tested = 0;
    for (const int32_t n_looked_at : {64, 1024, n_vocab}) {
        const auto ordered = row.top(std::min(n_looked_at, n_vocab));
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
    const LogitRow row = prepare(logits, n_vocab);
    gather(row);
    filter(row[row.best()]);
    const double total = total_weight();
    std::vector<Chance> chances;
    chances.reserve(candidates_.size());
    for (const auto& candidate : candidates_) {
        chances.push_back({candidate.token, candidate.weight / total});
    }
    return chances;
}

bool Sampler::is_greedy() const {
    return options_.temperature == 0 || (options_.top_k == 1 && options_.mirostat == 0);
}

// Applies what changes logits. The row has a best token.
LogitRow Sampler::prepare(float* logits, int32_t n_vocab) {
    for (const auto& [token, bias] : options_.logit_bias) {
        logits[token] += bias;
    }
    if (penalties_.is_active()) {
        penalties_.apply(logits);
    }
    for (const int32_t token : banned_) {
        logits[token] = lowest;
    }
    const LogitRow row(logits, n_vocab);
    if (row.best() < 0) {
        throw NotFinite(
            "the model gave no finite logits: its weights are damaged, or every token is excluded");
    }
    return row;
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

// The top-k tokens, best first, or all that may be drawn, as far as that can be said without the filters.
void Sampler::gather(const LogitRow& row) {
    const float best = row[row.best()];
    candidates_.clear();
    n_out_of_reach_ = 0;
    if (options_.mirostat == 0 && options_.top_k > 0 && options_.top_k < row.n_vocab()) {
        for (const auto& [token, logit] : row.top(options_.top_k)) {
            candidates_.push_back({token, logit, 0});
        }
        weigh(best, 1);
    } else if (options_.mirostat == 2 || options_.typical_p < 1) {
        take_from(row, best - reach());
    } else if (options_.top_p >= 1) {
        take_from(row, options_.min_p > 0 ? best + std::log(options_.min_p) : best - reach());
    } else {
        gather_nucleus(row);
    }
}

void Sampler::take_from(const LogitRow& row, float min_logit) {
    candidates_.clear();
    row.for_each_from(min_logit,
                      [&](int32_t token, float logit) { candidates_.push_back({token, logit, 0}); });
    weigh(row[row.best()], 1);
}

// Gathers the tokens that top-p keeps, and more. The weight of the tokens far below the best logit lies
// between zero and a bound given by the largest logits of their blocks: if the bound cannot change what top-p
// keeps, those tokens are not scanned.
void Sampler::gather_nucleus(const LogitRow& row) {
    const float best = row[row.best()];
    const auto top_p = static_cast<double>(options_.top_p);
    take_from(row, best - in_sight);
    const double weight = total_weight();
    if (candidates_.size() <= max_sorted) {
        sort_candidates();
        double sum = 0;
        for (size_t i = 0; i < candidates_.size() && sum < top_p * weight; ++i) {
            sum += candidates_[i].weight;
        }
        if (sum >= top_p * row.total_weight_bound(best - in_sight)) {
            return;
        }
    }
    n_out_of_reach_ = std::max(0.0, row.total_weight() - weight);
    if (weight < top_p * total_weight()) {
        n_out_of_reach_ = 0;
        take_from(row, best - reach());
    }
}

// Best first.
void Sampler::sort_candidates() {
    if (!std::is_sorted(candidates_.begin(), candidates_.end(), is_better)) {
        std::sort(candidates_.begin(), candidates_.end(), is_better);
    }
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

// Keeps the smallest set of the best tokens whose probabilities sum to top_p, at least one. If there are many
// candidates, a histogram finds the bin with the last token to keep, and only that bin is sorted.
void Sampler::keep_top_p() {
    if (candidates_.size() <= max_sorted) {
        const double enough = static_cast<double>(options_.top_p) * total_weight();
        sort_candidates();
        size_t n_kept = 1;
        for (double sum = candidates_[0].weight; n_kept < candidates_.size() && sum < enough; ++n_kept) {
            sum += candidates_[n_kept].weight;
        }
        candidates_.resize(n_kept);
        return;
    }
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
    std::sort(edge.begin(), edge.end(), is_better);
    for (size_t i = 0; i < edge.size() && (candidates_.empty() || sum < enough); ++i) {
        sum += edge[i].weight;
        candidates_.push_back(edge[i]);
    }
}

// Keeps those at least min_p times as likely as the best one.
void Sampler::keep_min_p() {
    const float best = std::max_element(candidates_.begin(), candidates_.end(), is_worse)->logit;
    const float min_logit = best + std::log(options_.min_p);
    candidates_.erase(std::remove_if(candidates_.begin(), candidates_.end(),
                                     [&](const Candidate& candidate) { return candidate.logit < min_logit; }),
                      candidates_.end());
}

// XTC: of those at least as likely as the threshold, keeps only the least likely, and all the others.
void Sampler::keep_below_threshold() {
    if (options_.xtc_threshold > 0.5F || candidates_.size() < 2) {
        return;
    }
    const double threshold = static_cast<double>(options_.xtc_threshold) * total_weight();
    std::sort(candidates_.begin(), candidates_.end(),
              [](const Candidate& a, const Candidate& b) { return a.weight > b.weight; });
    const auto end = std::find_if(candidates_.begin(), candidates_.end(),
                                  [&](const Candidate& candidate) { return candidate.weight < threshold; });
    if (end - candidates_.begin() > 1) {
        candidates_.erase(candidates_.begin(), end - 1);
    }
}

// Mirostat 2: keeps those whose surprise is at most mu, which follows from what was drawn before.
void Sampler::keep_unsurprising(float best) {
    weigh(best, options_.temperature);
    const double min_weight = total_weight() * std::exp2(-static_cast<double>(mirostat_mu_));
    const auto is_left_out = [&](const Candidate& candidate) {
        return candidate.weight < min_weight && candidate.logit != best;
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
