#pragma once

#include <cstdint>
#include <cstring>
#include <initializer_list>

namespace tea {

// exp(x) for x <= 0, right to a few units in the last place; 1e-38 for less than -87, and for NaN.
// Made of operations that compilers turn into vector instructions, which a call of std::exp is not.
//
// x = n ln 2 + r with |r| <= ln 2 / 2; the Taylor polynomial of exp(r) is off by less than 2^-25 there.
inline float exp_of_negative(float x) {
    constexpr float lowest = -87;  // less has no normal float
    constexpr float log2_e = 1.44269504F;
    constexpr float ln2_high = 0.693359375F;  // times n exact
    constexpr float ln2_low = -2.12194440e-4F;
    constexpr float to_integer = 12582912;  // 1.5 * 2^23: adding it leaves no fraction
    const float clamped = x > lowest ? x : lowest;
    const float n = (clamped * log2_e + to_integer) - to_integer;
    const float r = (clamped - n * ln2_high) - n * ln2_low;
    float sum = 1.0F / 5040;
    for (const float factor : {1.0F / 720, 1.0F / 120, 1.0F / 24, 1.0F / 6, 0.5F, 1.0F, 1.0F}) {
        sum = sum * r + factor;
    }
    const int32_t bits = (static_cast<int32_t>(n) + 127) * (1 << 23);
    float power;
    std::memcpy(&power, &bits, sizeof power);
    return sum * power;
}

// An upper bound of exp(x) for x <= 0, within a factor of two: the power of two nearest to it, and half as
// much.
inline float exp_of_negative_bound(float x) {
    constexpr float lowest = -87;
    constexpr float log2_e = 1.44269504F;
    constexpr float to_integer = 12582912;
    const float clamped = x > lowest ? x : lowest;
    const float n = (clamped * log2_e + to_integer) - to_integer;
    const int32_t bits = (static_cast<int32_t>(n) + 127) * (1 << 23);
    float power;
    std::memcpy(&power, &bits, sizeof power);
    return 1.5F * power;  // n is off by at most a half: a factor of 1.415
}

// The sum of exp(value - largest); no value is larger than `largest`, NaN counts as nothing.
double sum_of_exp(const float* values, int32_t n, float largest);
// An upper bound of that sum, within a factor of two.
double sum_of_exp_bound(const float* values, int32_t n, float largest);

}  // namespace tea
