/* The vector vocabulary in AVX-512: 32 registers of 16 floats, 8 doubles or 16 ints. */
#include <immintrin.h>

static inline __mmask16 fc_first(int n) { return (__mmask16)((1u << n) - 1); }

typedef __m512 f32_vec;
static inline f32_vec f32_zero(void) { return _mm512_setzero_ps(); }
static inline f32_vec f32_load(const float *p) { return _mm512_loadu_ps(p); }
static inline f32_vec f32_load_n(const float *p, int n) { return _mm512_maskz_loadu_ps(fc_first(n), p); }
static inline f32_vec f32_broadcast(const float *p) { return _mm512_set1_ps(*p); }
static inline void f32_store(float *p, f32_vec v) { _mm512_storeu_ps(p, v); }
static inline void f32_store_n(float *p, f32_vec v, int n) { _mm512_mask_storeu_ps(p, fc_first(n), v); }
static inline f32_vec f32_add(f32_vec a, f32_vec b) { return _mm512_add_ps(a, b); }
static inline f32_vec f32_sub(f32_vec a, f32_vec b) { return _mm512_sub_ps(a, b); }
static inline f32_vec f32_abs(f32_vec v) { return _mm512_abs_ps(v); }
/* a > b ? a : b, and a < b ? a : b: b where one is NaN or both are zeros. */
static inline f32_vec f32_max(f32_vec a, f32_vec b) { return _mm512_max_ps(a, b); }
static inline f32_vec f32_min(f32_vec a, f32_vec b) { return _mm512_min_ps(a, b); }
/* The same as max, but NaN where either is NaN. */
static inline f32_vec f32_max_nan(f32_vec a, f32_vec b) {
    return _mm512_mask_mov_ps(_mm512_max_ps(a, b), _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), a);
}
static inline f32_vec f32_div(f32_vec a, f32_vec b) { return _mm512_div_ps(a, b); }
static inline f32_vec f32_fma(f32_vec a, f32_vec b, f32_vec sum) { return _mm512_fmadd_ps(a, b, sum); }

/* Rows become columns, in place. */
static inline void f32_transpose(f32_vec v[16]) {
    f32_vec t[16];
    FC_UNROLL
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_ps(v[i], v[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(v[i], v[i + 1]);
    }
    FC_UNROLL
    for (int i = 0; i < 16; i += 4) { /* v[i + j], quarter q: column 4 * q + j of rows i to i + 3 */
        FC_UNROLL
        for (int j = 0; j < 4; j++) {
            const __m512d a = _mm512_castps_pd(t[i + j / 2]), b = _mm512_castps_pd(t[i + j / 2 + 2]);
            v[i + j] = _mm512_castpd_ps(j % 2 ? _mm512_unpackhi_pd(a, b) : _mm512_unpacklo_pd(a, b));
        }
    }
    FC_UNROLL
    for (int j = 0; j < 4; j++) {
        const f32_vec even_top = _mm512_shuffle_f32x4(v[j], v[4 + j], 0x88);
        const f32_vec even_bottom = _mm512_shuffle_f32x4(v[8 + j], v[12 + j], 0x88);
        const f32_vec odd_top = _mm512_shuffle_f32x4(v[j], v[4 + j], 0xdd);
        const f32_vec odd_bottom = _mm512_shuffle_f32x4(v[8 + j], v[12 + j], 0xdd);
        v[j] = _mm512_shuffle_f32x4(even_top, even_bottom, 0x88);
        v[4 + j] = _mm512_shuffle_f32x4(odd_top, odd_bottom, 0x88);
        v[8 + j] = _mm512_shuffle_f32x4(even_top, even_bottom, 0xdd);
        v[12 + j] = _mm512_shuffle_f32x4(odd_top, odd_bottom, 0xdd);
    }
}

typedef __m512d f64_vec;
static inline f64_vec f64_zero(void) { return _mm512_setzero_pd(); }
static inline f64_vec f64_load(const double *p) { return _mm512_loadu_pd(p); }
static inline f64_vec f64_load_n(const double *p, int n) { return _mm512_maskz_loadu_pd((__mmask8)fc_first(n), p); }
static inline f64_vec f64_broadcast(const double *p) { return _mm512_set1_pd(*p); }
static inline void f64_store(double *p, f64_vec v) { _mm512_storeu_pd(p, v); }
static inline void f64_store_n(double *p, f64_vec v, int n) { _mm512_mask_storeu_pd(p, (__mmask8)fc_first(n), v); }
static inline f64_vec f64_add(f64_vec a, f64_vec b) { return _mm512_add_pd(a, b); }
static inline f64_vec f64_max(f64_vec a, f64_vec b) { return _mm512_max_pd(a, b); }
static inline f64_vec f64_min(f64_vec a, f64_vec b) { return _mm512_min_pd(a, b); }
static inline f64_vec f64_max_nan(f64_vec a, f64_vec b) {
    return _mm512_mask_mov_pd(_mm512_max_pd(a, b), _mm512_cmp_pd_mask(a, a, _CMP_UNORD_Q), a);
}
static inline f64_vec f64_div(f64_vec a, f64_vec b) { return _mm512_div_pd(a, b); }
static inline f64_vec f64_fma(f64_vec a, f64_vec b, f64_vec sum) { return _mm512_fmadd_pd(a, b, sum); }

typedef __m512i i32_vec;
static inline i32_vec i32_zero(void) { return _mm512_setzero_si512(); }
static inline i32_vec i32_load(const uint32_t *p) { return _mm512_loadu_si512(p); }
static inline i32_vec i32_load_n(const uint32_t *p, int n) { return _mm512_maskz_loadu_epi32(fc_first(n), p); }
static inline i32_vec i32_broadcast(const uint32_t *p) { return _mm512_set1_epi32((int)*p); }
static inline void i32_store(uint32_t *p, i32_vec v) { _mm512_storeu_si512(p, v); }
static inline void i32_store_n(uint32_t *p, i32_vec v, int n) { _mm512_mask_storeu_epi32(p, fc_first(n), v); }
static inline i32_vec i32_add(i32_vec a, i32_vec b) { return _mm512_add_epi32(a, b); }
/* Lane i gets lane index[i]. */
static inline f32_vec f32_permute(f32_vec v, i32_vec index) { return _mm512_permutexvar_ps(index, v); }
static inline i32_vec i32_and(i32_vec a, i32_vec b) { return _mm512_and_si512(a, b); }
static inline i32_vec i32_max(i32_vec a, i32_vec b) { return _mm512_max_epi32(a, b); } /* signed */
static inline i32_vec i32_min(i32_vec a, i32_vec b) { return _mm512_min_epi32(a, b); }
static inline i32_vec i32_fma(i32_vec a, i32_vec b, i32_vec sum) {
    return _mm512_add_epi32(_mm512_mullo_epi32(a, b), sum);
}

static inline f32_vec f32_load_f16(const uint16_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)p)); }
static inline void f32_store_f16(uint16_t *p, f32_vec v) {
    _mm256_storeu_si256((void *)p, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}
static inline f32_vec f32_load_bf16(const uint16_t *p) {
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
static inline void f32_store_bf16(uint16_t *p, f32_vec v) {
    const __m512i bits = _mm512_castps_si512(v), high = _mm512_srli_epi32(bits, 16);
    const __m512i odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
    const __m512i rounded =
        _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
    const __m512i quiet = _mm512_or_si512(high, _mm512_set1_epi32(0x40));
    const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    _mm256_storeu_si256((void *)p, _mm512_cvtepi32_epi16(_mm512_mask_mov_epi32(rounded, nan, quiet)));
}
