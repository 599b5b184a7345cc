/* The vector vocabulary in AArch64 NEON: 32 registers of 4 floats, 2 doubles or 4 ints. */
#include <arm_neon.h>

typedef float32x4_t f32_vec;
static inline f32_vec f32_zero(void) { return vdupq_n_f32(0); }
static inline f32_vec f32_load(const float *p) { return vld1q_f32(p); }
static inline f32_vec f32_broadcast(const float *p) { return vld1q_dup_f32(p); }
static inline void f32_store(float *p, f32_vec v) { vst1q_f32(p, v); }
static inline f32_vec f32_add(f32_vec a, f32_vec b) { return vaddq_f32(a, b); }
static inline f32_vec f32_sub(f32_vec a, f32_vec b) { return vsubq_f32(a, b); }
static inline f32_vec f32_abs(f32_vec v) { return vabsq_f32(v); }
/* a > b ? a : b, and a < b ? a : b: b where one is NaN or both are zeros, which vmaxq decides otherwise. */
static inline f32_vec f32_max(f32_vec a, f32_vec b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
static inline f32_vec f32_min(f32_vec a, f32_vec b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
/* The same as max, but NaN where either is NaN. */
static inline f32_vec f32_max_nan(f32_vec a, f32_vec b) { return vbslq_f32(vceqq_f32(a, a), f32_max(a, b), a); }
static inline f32_vec f32_div(f32_vec a, f32_vec b) { return vdivq_f32(a, b); }
static inline f32_vec f32_fma(f32_vec a, f32_vec b, f32_vec sum) { return vfmaq_f32(sum, a, b); }

/* Rows become columns, in place. */
static inline void f32_transpose(f32_vec v[4]) {
    const f32_vec a = vtrn1q_f32(v[0], v[1]), b = vtrn2q_f32(v[0], v[1]);
    const f32_vec c = vtrn1q_f32(v[2], v[3]), d = vtrn2q_f32(v[2], v[3]);
    v[0] = vcombine_f32(vget_low_f32(a), vget_low_f32(c));
    v[1] = vcombine_f32(vget_low_f32(b), vget_low_f32(d));
    v[2] = vcombine_f32(vget_high_f32(a), vget_high_f32(c));
    v[3] = vcombine_f32(vget_high_f32(b), vget_high_f32(d));
}

typedef float64x2_t f64_vec;
static inline f64_vec f64_zero(void) { return vdupq_n_f64(0); }
static inline f64_vec f64_load(const double *p) { return vld1q_f64(p); }
static inline f64_vec f64_broadcast(const double *p) { return vld1q_dup_f64(p); }
static inline void f64_store(double *p, f64_vec v) { vst1q_f64(p, v); }
static inline f64_vec f64_add(f64_vec a, f64_vec b) { return vaddq_f64(a, b); }
static inline f64_vec f64_max(f64_vec a, f64_vec b) { return vbslq_f64(vcgtq_f64(a, b), a, b); }
static inline f64_vec f64_min(f64_vec a, f64_vec b) { return vbslq_f64(vcltq_f64(a, b), a, b); }
static inline f64_vec f64_max_nan(f64_vec a, f64_vec b) { return vbslq_f64(vceqq_f64(a, a), f64_max(a, b), a); }
static inline f64_vec f64_div(f64_vec a, f64_vec b) { return vdivq_f64(a, b); }
static inline f64_vec f64_fma(f64_vec a, f64_vec b, f64_vec sum) { return vfmaq_f64(sum, a, b); }

typedef uint32x4_t i32_vec;
static inline i32_vec i32_zero(void) { return vdupq_n_u32(0); }
static inline i32_vec i32_load(const uint32_t *p) { return vld1q_u32(p); }
static inline i32_vec i32_broadcast(const uint32_t *p) { return vld1q_dup_u32(p); }
static inline void i32_store(uint32_t *p, i32_vec v) { vst1q_u32(p, v); }
static inline i32_vec i32_add(i32_vec a, i32_vec b) { return vaddq_u32(a, b); }
/* Lane i gets lane index[i]: bytes 4 * index[i] to 4 * index[i] + 3. */
static inline f32_vec f32_permute(f32_vec v, i32_vec index) {
    const uint32x4_t bytes = vmlaq_n_u32(vdupq_n_u32(0x03020100), index, 0x04040404);
    return vreinterpretq_f32_u8(vqtbl1q_u8(vreinterpretq_u8_f32(v), vreinterpretq_u8_u32(bytes)));
}
static inline i32_vec i32_and(i32_vec a, i32_vec b) { return vandq_u32(a, b); }
static inline i32_vec i32_max(i32_vec a, i32_vec b) { /* signed */
    return vreinterpretq_u32_s32(vmaxq_s32(vreinterpretq_s32_u32(a), vreinterpretq_s32_u32(b)));
}
static inline i32_vec i32_min(i32_vec a, i32_vec b) {
    return vreinterpretq_u32_s32(vminq_s32(vreinterpretq_s32_u32(a), vreinterpretq_s32_u32(b)));
}
static inline i32_vec i32_fma(i32_vec a, i32_vec b, i32_vec sum) { return vmlaq_u32(sum, a, b); }

static inline f32_vec f32_load_f16(const uint16_t *p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
static inline void f32_store_f16(uint16_t *p, f32_vec v) { vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(v))); }
static inline f32_vec f32_load_bf16(const uint16_t *p) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16)); }
static inline void f32_store_bf16(uint16_t *p, f32_vec v) {
    const uint32x4_t bits = vreinterpretq_u32_f32(v), high = vshrq_n_u32(bits, 16);
    const uint32x4_t odd = vandq_u32(high, vdupq_n_u32(1));
    const uint32x4_t rounded = vshrq_n_u32(vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff))), 16);
    const uint32x4_t quiet = vorrq_u32(high, vdupq_n_u32(0x40));
    vst1_u16(p, vmovn_u32(vbslq_u32(vceqq_f32(v, v), rounded, quiet)));
}

#define FC_PARTIAL_BY_COPY
