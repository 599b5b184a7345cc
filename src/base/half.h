/* Scalar conversions of float16 and bfloat16 in integer arithmetic, bit for bit what the hardware's do. */
#ifndef FC_BASE_HALF_H
#define FC_BASE_HALF_H

#include <stdint.h>
#include <string.h>

static inline float fc_float_of_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t fc_bits_of_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float bf16_value(uint16_t half) { return fc_float_of_bits((uint32_t)half << 16); }

/* To nearest, ties to even; a NaN stays a NaN. */
static inline uint16_t bf16_round(float value) {
    const uint32_t bits = fc_bits_of_float(value);
    if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static inline float f16_value(uint16_t half) {
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    uint32_t magnitude = half & 0x7fff;
    if (magnitude >= 0x7c00) /* infinity or NaN, quietened */
        return fc_float_of_bits(sign | 0x7f800000 | (magnitude & 0x3ff) << 13 | (magnitude > 0x7c00 ? 0x400000 : 0));
    if (magnitude >= 0x400) return fc_float_of_bits(sign | ((magnitude << 13) + (112u << 23)));
    if (magnitude == 0) return fc_float_of_bits(sign);
    uint32_t exponent = 113; /* a subnormal: shift its leading one into the implicit place */
    for (; !(magnitude & 0x400); magnitude <<= 1) exponent--;
    return fc_float_of_bits(sign | exponent << 23 | (magnitude & 0x3ff) << 13);
}

/* To nearest, ties to even; subnormal results are kept, overflow gives infinity, a NaN stays a NaN. */
static inline uint16_t f16_round(float value) {
    const uint32_t bits = fc_bits_of_float(value), magnitude = bits & 0x7fffffff;
    const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    if (magnitude > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x3ff));
    if (magnitude >= 0x47800000) return sign | 0x7c00; /* 65536 and above */
    if (magnitude >= 0x38800000) {                     /* 2^-14 and above: rounding may carry up to infinity */
        const uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
        return (uint16_t)(sign | ((rounded - (112u << 23)) >> 13));
    }
    if (magnitude < 0x33000000) return sign; /* below half of the smallest subnormal, 2^-24 */
    const uint32_t shift = 126 - (magnitude >> 23), significand = (magnitude & 0x7fffff) | 0x800000;
    const uint32_t kept = significand >> shift, rest = significand & ((1u << shift) - 1), tie = 1u << (shift - 1);
    return (uint16_t)(sign | (kept + (rest > tie || (rest == tie && kept & 1))));
}

#endif
