/* The vector vocabulary in plain C: 8 floats, 4 doubles or 8 ints in a GCC vector, whatever the CPU makes of it.
 *
 * FC_FUSED says whether the CPU has fused multiply-add; without it fmaf would be a library call, 60 times slower. */

#ifndef __clang__
#pragma GCC diagnostic ignored "-Wpsabi" /* no vector leaves this file: every function is inlined */
#endif
typedef float f32_vec __attribute__((vector_size(32)));
typedef double f64_vec __attribute__((vector_size(32)));
typedef uint32_t i32_vec __attribute__((vector_size(32)));

static FC_INLINE f32_vec f32_zero(void) { return (f32_vec){0}; }
static FC_INLINE f64_vec f64_zero(void) { return (f64_vec){0}; }
static FC_INLINE i32_vec i32_zero(void) { return (i32_vec){0}; }

static FC_INLINE f32_vec f32_load(const float *p) {
    f32_vec v;
    memcpy(&v, p, sizeof v);
    return v;
}
static FC_INLINE f64_vec f64_load(const double *p) {
    f64_vec v;
    memcpy(&v, p, sizeof v);
    return v;
}
static FC_INLINE i32_vec i32_load(const uint32_t *p) {
    i32_vec v;
    memcpy(&v, p, sizeof v);
    return v;
}
static FC_INLINE void f32_store(float *p, f32_vec v) { memcpy(p, &v, sizeof v); }
static FC_INLINE void f64_store(double *p, f64_vec v) { memcpy(p, &v, sizeof v); }
static FC_INLINE void i32_store(uint32_t *p, i32_vec v) { memcpy(p, &v, sizeof v); }

/* A scalar minus a zero vector, and not plus one: that would turn -0 into +0. */
static FC_INLINE f32_vec f32_broadcast(const float *p) { return *p - f32_zero(); }
static FC_INLINE f64_vec f64_broadcast(const double *p) { return *p - f64_zero(); }
static FC_INLINE i32_vec i32_broadcast(const uint32_t *p) { return *p - i32_zero(); }

/* Rows become columns, in place. */
static FC_INLINE void f32_transpose(f32_vec v[8]) {
    float whole[8][8];
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < 8; j++) whole[j][i] = v[i][j];
    memcpy(v, whole, sizeof whole);
}

static FC_INLINE f32_vec f32_add(f32_vec a, f32_vec b) { return a + b; }
static FC_INLINE f32_vec f32_sub(f32_vec a, f32_vec b) { return a - b; }
static FC_INLINE f32_vec f32_abs(f32_vec v) { return (f32_vec)((i32_vec)v & (0x7fffffff - i32_zero())); }
static FC_INLINE f64_vec f64_add(f64_vec a, f64_vec b) { return a + b; }
static FC_INLINE i32_vec i32_add(i32_vec a, i32_vec b) { return a + b; }
/* Lane i gets lane index[i]. */
static FC_INLINE f32_vec f32_permute(f32_vec v, i32_vec index) {
    f32_vec permuted;
    for (int i = 0; i < 8; i++) permuted[i] = v[index[i]];
    return permuted;
}
static FC_INLINE i32_vec i32_and(i32_vec a, i32_vec b) { return a & b; }

/* a > b ? a : b, and a < b ? a : b: b where one is NaN or both are zeros. */
static FC_INLINE f32_vec f32_max(f32_vec a, f32_vec b) {
    for (int i = 0; i < 8; i++) b[i] = a[i] > b[i] ? a[i] : b[i];
    return b;
}
static FC_INLINE f32_vec f32_min(f32_vec a, f32_vec b) {
    for (int i = 0; i < 8; i++) b[i] = a[i] < b[i] ? a[i] : b[i];
    return b;
}
static FC_INLINE f64_vec f64_max(f64_vec a, f64_vec b) {
    for (int i = 0; i < 4; i++) b[i] = a[i] > b[i] ? a[i] : b[i];
    return b;
}
static FC_INLINE f64_vec f64_min(f64_vec a, f64_vec b) {
    for (int i = 0; i < 4; i++) b[i] = a[i] < b[i] ? a[i] : b[i];
    return b;
}
/* The same as max, but NaN where either is NaN. */
static FC_INLINE f32_vec f32_max_nan(f32_vec a, f32_vec b) {
    for (int i = 0; i < 8; i++) b[i] = a[i] > b[i] || a[i] != a[i] ? a[i] : b[i];
    return b;
}
static FC_INLINE f64_vec f64_max_nan(f64_vec a, f64_vec b) {
    for (int i = 0; i < 4; i++) b[i] = a[i] > b[i] || a[i] != a[i] ? a[i] : b[i];
    return b;
}
static FC_INLINE f32_vec f32_div(f32_vec a, f32_vec b) { return a / b; }
static FC_INLINE f64_vec f64_div(f64_vec a, f64_vec b) { return a / b; }
static FC_INLINE i32_vec i32_max(i32_vec a, i32_vec b) { /* signed */
    for (int i = 0; i < 8; i++) b[i] = (int32_t)a[i] > (int32_t)b[i] ? a[i] : b[i];
    return b;
}
static FC_INLINE i32_vec i32_min(i32_vec a, i32_vec b) {
    for (int i = 0; i < 8; i++) b[i] = (int32_t)a[i] < (int32_t)b[i] ? a[i] : b[i];
    return b;
}

#if FC_FUSED
static FC_INLINE f32_vec f32_fma(f32_vec a, f32_vec b, f32_vec sum) {
    for (int i = 0; i < 8; i++) sum[i] = __builtin_fmaf(a[i], b[i], sum[i]);
    return sum;
}
static FC_INLINE f64_vec f64_fma(f64_vec a, f64_vec b, f64_vec sum) {
    for (int i = 0; i < 4; i++) sum[i] = __builtin_fma(a[i], b[i], sum[i]);
    return sum;
}
#else
static FC_INLINE f32_vec f32_fma(f32_vec a, f32_vec b, f32_vec sum) { return a * b + sum; }
static FC_INLINE f64_vec f64_fma(f64_vec a, f64_vec b, f64_vec sum) { return a * b + sum; }
#endif
static FC_INLINE i32_vec i32_fma(i32_vec a, i32_vec b, i32_vec sum) { return a * b + sum; }

static FC_INLINE f32_vec f32_load_f16(const uint16_t *p) {
    f32_vec v;
    for (int i = 0; i < 8; i++) v[i] = f16_value(p[i]);
    return v;
}
static FC_INLINE f32_vec f32_load_bf16(const uint16_t *p) {
    f32_vec v;
    for (int i = 0; i < 8; i++) v[i] = bf16_value(p[i]);
    return v;
}
static FC_INLINE void f32_store_f16(uint16_t *p, f32_vec v) {
    for (int i = 0; i < 8; i++) p[i] = f16_round(v[i]);
}
static FC_INLINE void f32_store_bf16(uint16_t *p, f32_vec v) {
    for (int i = 0; i < 8; i++) p[i] = bf16_round(v[i]);
}

#define FC_PARTIAL_BY_COPY
