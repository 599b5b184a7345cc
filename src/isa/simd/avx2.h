/* The vector vocabulary in AVX2 with FMA and F16C: 16 registers of 8 floats, 4 doubles or 8 ints. */
#include <immintrin.h>

static inline __m256i fc_first(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
static inline __m256i fc_first_wide(int n) {
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
}

typedef __m256 f32_vec;
static inline f32_vec f32_zero(void) { return _mm256_setzero_ps(); }
static inline f32_vec f32_load(const float *p) { return _mm256_loadu_ps(p); }
static inline f32_vec f32_load_n(const float *p, int n) { return _mm256_maskload_ps(p, fc_first(n)); }
static inline f32_vec f32_broadcast(const float *p) { return _mm256_broadcast_ss(p); }
static inline void f32_store(float *p, f32_vec v) { _mm256_storeu_ps(p, v); }
/* Masked stores are microcode on AMD's processors: 20 times as slow as these. */
static inline void f32_store_n(float *p, f32_vec v, int n) {
    __m128 rest = _mm256_castps256_ps128(v);
    if (n & 8) {
        _mm256_storeu_ps(p, v);
        return;
    }
    if (n & 4) {
        _mm_storeu_ps(p, rest);
        rest = _mm256_extractf128_ps(v, 1);
        p += 4;
    }
    if (n & 2) {
        _mm_storel_pi((__m64 *)p, rest);
        rest = _mm_movehl_ps(rest, rest);
        p += 2;
    }
    if (n & 1) _mm_store_ss(p, rest);
}
static inline f32_vec f32_add(f32_vec a, f32_vec b) { return _mm256_add_ps(a, b); }
static inline f32_vec f32_sub(f32_vec a, f32_vec b) { return _mm256_sub_ps(a, b); }
static inline f32_vec f32_abs(f32_vec v) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v); }
/* a > b ? a : b, and a < b ? a : b: b where one is NaN or both are zeros. */
static inline f32_vec f32_max(f32_vec a, f32_vec b) { return _mm256_max_ps(a, b); }
static inline f32_vec f32_min(f32_vec a, f32_vec b) { return _mm256_min_ps(a, b); }
/* The same as max, but NaN where either is NaN. */
static inline f32_vec f32_max_nan(f32_vec a, f32_vec b) {
    return _mm256_blendv_ps(_mm256_max_ps(a, b), a, _mm256_cmp_ps(a, a, _CMP_UNORD_Q));
}
static inline f32_vec f32_div(f32_vec a, f32_vec b) { return _mm256_div_ps(a, b); }
static inline f32_vec f32_fma(f32_vec a, f32_vec b, f32_vec sum) { return _mm256_fmadd_ps(a, b, sum); }

/* Rows become columns, in place. */
static inline void f32_transpose(f32_vec v[8]) {
    f32_vec t[8];
    FC_UNROLL
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(v[i], v[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(v[i], v[i + 1]);
    }
    FC_UNROLL
    for (int j = 0; j < 4; j++) { /* each half of top: column j or 4 + j of rows 0 to 3; of bottom: of rows 4 to 7 */
        const __m256d a = _mm256_castps_pd(t[j / 2]), b = _mm256_castps_pd(t[j / 2 + 2]);
        const __m256d c = _mm256_castps_pd(t[j / 2 + 4]), d = _mm256_castps_pd(t[j / 2 + 6]);
        const f32_vec top = _mm256_castpd_ps(j % 2 ? _mm256_unpackhi_pd(a, b) : _mm256_unpacklo_pd(a, b));
        const f32_vec bottom = _mm256_castpd_ps(j % 2 ? _mm256_unpackhi_pd(c, d) : _mm256_unpacklo_pd(c, d));
        v[j] = _mm256_permute2f128_ps(top, bottom, 0x20);
        v[4 + j] = _mm256_permute2f128_ps(top, bottom, 0x31);
    }
}

typedef __m256d f64_vec;
static inline f64_vec f64_zero(void) { return _mm256_setzero_pd(); }
static inline f64_vec f64_load(const double *p) { return _mm256_loadu_pd(p); }
static inline f64_vec f64_load_n(const double *p, int n) { return _mm256_maskload_pd(p, fc_first_wide(n)); }
static inline f64_vec f64_broadcast(const double *p) { return _mm256_broadcast_sd(p); }
static inline void f64_store(double *p, f64_vec v) { _mm256_storeu_pd(p, v); }
static inline void f64_store_n(double *p, f64_vec v, int n) { f32_store_n((float *)p, _mm256_castpd_ps(v), 2 * n); }
static inline f64_vec f64_add(f64_vec a, f64_vec b) { return _mm256_add_pd(a, b); }
static inline f64_vec f64_max(f64_vec a, f64_vec b) { return _mm256_max_pd(a, b); }
static inline f64_vec f64_min(f64_vec a, f64_vec b) { return _mm256_min_pd(a, b); }
static inline f64_vec f64_max_nan(f64_vec a, f64_vec b) {
    return _mm256_blendv_pd(_mm256_max_pd(a, b), a, _mm256_cmp_pd(a, a, _CMP_UNORD_Q));
}
static inline f64_vec f64_div(f64_vec a, f64_vec b) { return _mm256_div_pd(a, b); }
static inline f64_vec f64_fma(f64_vec a, f64_vec b, f64_vec sum) { return _mm256_fmadd_pd(a, b, sum); }

typedef __m256i i32_vec;
static inline i32_vec i32_zero(void) { return _mm256_setzero_si256(); }
static inline i32_vec i32_load(const uint32_t *p) { return _mm256_loadu_si256((const void *)p); }
static inline i32_vec i32_load_n(const uint32_t *p, int n) {
    return _mm256_maskload_epi32((const void *)p, fc_first(n));
}
static inline i32_vec i32_broadcast(const uint32_t *p) { return _mm256_set1_epi32((int)*p); }
static inline void i32_store(uint32_t *p, i32_vec v) { _mm256_storeu_si256((void *)p, v); }
static inline void i32_store_n(uint32_t *p, i32_vec v, int n) { f32_store_n((float *)p, _mm256_castsi256_ps(v), n); }
static inline i32_vec i32_add(i32_vec a, i32_vec b) { return _mm256_add_epi32(a, b); }
/* Lane i gets lane index[i]. */
static inline f32_vec f32_permute(f32_vec v, i32_vec index) { return _mm256_permutevar8x32_ps(v, index); }
static inline i32_vec i32_and(i32_vec a, i32_vec b) { return _mm256_and_si256(a, b); }
static inline i32_vec i32_max(i32_vec a, i32_vec b) { return _mm256_max_epi32(a, b); } /* signed */
static inline i32_vec i32_min(i32_vec a, i32_vec b) { return _mm256_min_epi32(a, b); }
static inline i32_vec i32_fma(i32_vec a, i32_vec b, i32_vec sum) {
    return _mm256_add_epi32(_mm256_mullo_epi32(a, b), sum);
}

static inline f32_vec f32_load_f16(const uint16_t *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const void *)p)); }
static inline void f32_store_f16(uint16_t *p, f32_vec v) {
    _mm_storeu_si128((void *)p, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}
static inline f32_vec f32_load_bf16(const uint16_t *p) {
    const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
static inline void f32_store_bf16(uint16_t *p, f32_vec v) {
    const __m256i bits = _mm256_castps_si256(v), high = _mm256_srli_epi32(bits, 16);
    const __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
    const __m256i rounded =
        _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
    const __m256i quiet = _mm256_or_si256(high, _mm256_set1_epi32(0x40));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    const __m256i chosen = _mm256_blendv_epi8(rounded, quiet, nan);
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(chosen, chosen), 0x08);
    _mm_storeu_si128((void *)p, _mm256_castsi256_si128(packed));
}
