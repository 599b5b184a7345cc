/* Compares the exponents of tiles' largest values with those of each tap's products. */
#include "winograd/gradient_outliers.h"
#include "layout/copy.h"
#include "base/arith.h"
#include "base/axis.h"
#include <string.h>

enum {
    NEITHER = 2,    /* of the factors */
    TINY = 27,      /* the exponent of 2^-100: differences of smaller values may be flushed to zero */
    MOST_APART = 6, /* binary orders of magnitude between a tile's largest product and the largest of a tap's gradient:
                       the error is then 2^-24 * 2^6 of the latter */
    ROUNDOFF = 24,  /* of a float, in binary orders of magnitude */
    UNKNOWN = 0xff, /* an exponent that was not measured yet */
    CHANNELS = 64   /* that are checked together */
};

static int larger(int a, int b) { return a > b ? a : b; }

/* One of the factors. */
typedef struct factor {
    const fc_tensor *of;
    int64_t h, w, channels;
    const uint8_t *of_channels; /* as in fc_exponents */
    uint8_t *of_tiles, *of_pixels;
} factor;

/* What the check compares. */
typedef struct scales {
    const fc_backprop_filter *call;
    const fc_grid *g;
    factor factors[2];
    int floor; /* of taps that have no products of a channel: what the least of them has of all channels */
} scales;

/* The exponent of a pixel's largest value, of some channels; 0 outside the image. */
static int exponent_of(const scales *k, const factor *f, int64_t image, int64_t y, int64_t x, int64_t first,
                       int64_t channels) {
    float values[FC_LINE_FLOATS * FC_LINE_FLOATS];
    const int64_t most = sizeof(values) / sizeof(values[0]), pixel = (image * f->h + y) * f->w + x;
    if (y < 0 || y >= f->h || x < 0 || x >= f->w) return 0;
    if (channels == f->channels && f->of_pixels[pixel] != UNKNOWN) return f->of_pixels[pixel];
    int exponent = 0;
    for (int64_t c = first, count; c < first + channels; c += count) {
        const int64_t at = image * f->of->stride_n + y * f->of->stride_h + x * f->of->stride_w + c * f->of->stride_c;
        const void *cell = values;
        uint8_t found[FC_LINE_FLOATS * FC_LINE_FLOATS] = {0};
        count = fc_min(most, first + channels - c);
        const fc_matrix given = fc_matrix_of((const char *)f->of->data + at * fc_dtype_size(f->of->dtype), 1, count,
                                             f->of->stride_w, f->of->stride_c);
        fc_stage_pixels(k->call->kernels, f->of->dtype, &given, values, count);
        fc_raise_exponents(k->call->kernels, &cell, 1, count, found);
        for (int64_t i = 0; i < count; i++) exponent = larger(exponent, found[i]);
    }
    if (channels == f->channels) f->of_pixels[pixel] = (uint8_t)exponent;
    return exponent;
}

/* Raises the taps' weights to those of their products in one tile, sums of exponents: of one channel of a factor, if of
 * either, and the other's largest values. */
static void measure_taps(const scales *k, int own, int64_t channel, int64_t tile, int *taps) {
    const fc_problem *p = &k->call->problem;
    const fc_grid *g = k->g;
    const fc_place at = fc_place_of(p, g, tile);
    const fc_axis h = fc_axis_h(p), w = fc_axis_w(p);
    const int64_t top = fc_axis_cell(&h, at.y, 0), left = fc_axis_cell(&w, at.x, 0);
    const factor *in = &k->factors[FC_INPUT], *out = &k->factors[FC_OUTPUT];
    const int64_t first_in = own == FC_INPUT ? channel : 0, ins = own == FC_INPUT ? 1 : in->channels;
    const int64_t first_out = own == FC_OUTPUT ? channel : 0, outs = own == FC_OUTPUT ? 1 : out->channels;
    int inputs[FC_REACH][FC_REACH];
    for (int64_t i = 0; i < g->reach_rows; i++)
        for (int64_t j = 0; j < g->reach_columns; j++)
            inputs[i][j] = exponent_of(k, in, at.image, top + i, left + j, first_in, ins);
    for (int64_t y = 0; y < at.rows; y++)
        for (int64_t x = 0; x < at.columns; x++) {
            const int output = exponent_of(k, out, at.image, at.y + y, at.x + x, first_out, outs);
            for (int64_t i = 0; i < p->kh && output; i++)
                for (int64_t j = 0; j < p->kw; j++) {
                    const int input = inputs[y * p->stride_h + i][x * p->stride_w + j];
                    if (input) taps[i * p->kw + j] = larger(taps[i * p->kw + j], input + output);
                }
        }
}

/* The least of all taps' weights, where those that have no products count as `none`. */
static int least_of(const scales *k, const int *taps, int none) {
    const int64_t count = k->call->problem.kh * k->call->problem.kw;
    int least = UINT16_MAX;
    for (int64_t tap = 0; tap < count; tap++) {
        const int weight = taps[tap] ? taps[tap] : none;
        least = weight < least ? weight : least;
    }
    return least;
}

/* The largest product that a tile may hold of one channel: a sum of exponents, or 0. */
static int weight_of(int own, int other) { return own && other ? own + other : 0; }

static int weight_in(const factor *f, const factor *other, int64_t channel, int64_t tile) {
    return weight_of(f->of_channels[tile * f->channels + channel], other->of_tiles[tile]);
}

/* The largest weights among all tiles' products with one channel of a factor. */
typedef struct weight {
    int most, tiny; /* of all products; of those with values that might be flushed */
    int64_t tile;   /* the first that holds the largest */
} weight;

/* Whether each tap has products of this channel that are not much smaller than the largest that any tile may hold:
 * mostly the tile that holds it tells. A tap that has none, as of a channel that is zero but at the image's border, may
 * err as those of all channels do. Values that are flushed may be no larger than what rounding loses. */
static int channel_is_sound(const scales *k, int own, int64_t channel, const weight *w) {
    const factor *f = &k->factors[own], *other = &k->factors[1 - own];
    int taps[FC_WIDEST * FC_WIDEST] = {0};
    const int enough = larger(w->most - MOST_APART, w->tiny + ROUNDOFF);
    if (w->most == 0) return 1;
    measure_taps(k, own, channel, w->tile, taps);
    for (int most = w->most; most >= enough && most > 0 && least_of(k, taps, 0) < enough; most--)
        for (int64_t tile = 0; tile < k->g->tiles; tile++)
            if (weight_in(f, other, channel, tile) == most) measure_taps(k, own, channel, tile, taps);
    if (least_of(k, taps, 0) >= enough) return 1;
    /* The other tiles raise no tap enough, but tell which have no products at all. */
    for (int64_t tile = 0; tile < k->g->tiles && least_of(k, taps, enough) >= enough; tile++)
        if (weight_in(f, other, channel, tile)) measure_taps(k, own, channel, tile, taps);
    return least_of(k, taps, k->floor) >= enough;
}

/* The same for every channel of a factor. */
static int factor_is_sound(const scales *k, int own) {
    const factor *f = &k->factors[own], *other = &k->factors[1 - own];
    for (int64_t first = 0; first < f->channels; first += CHANNELS) {
        const int64_t channels = fc_min(CHANNELS, f->channels - first);
        weight weights[CHANNELS] = {{0}};
        for (int64_t tile = 0; tile < k->g->tiles; tile++)
            for (int64_t c = 0; c < channels; c++) {
                const int mine = f->of_channels[tile * f->channels + first + c], others = other->of_tiles[tile];
                const int found = weight_of(mine, others);
                if (found > weights[c].most) weights[c] = (weight){found, weights[c].tiny, tile};
                if (mine < TINY || others < TINY) weights[c].tiny = larger(weights[c].tiny, found);
            }
        for (int64_t c = 0; c < channels; c++)
            if (!channel_is_sound(k, own, first + c, &weights[c])) return 0;
    }
    return 1;
}

int64_t fc_exponents_size(const fc_backprop_filter *call) {
    const fc_problem *p = &call->problem;
    return call->winograd.grid.tiles * (p->c + p->f + 2) + p->n * (p->h * p->w + p->oh * p->ow);
}

fc_exponents fc_place_exponents(const fc_backprop_filter *call, uint8_t *memory) {
    const fc_problem *p = &call->problem;
    const int64_t tiles = call->winograd.grid.tiles;
    fc_exponents e = {.channels = {memory, memory + tiles * p->c}};
    e.tiles[FC_INPUT] = e.channels[FC_OUTPUT] + tiles * p->f;
    e.tiles[FC_OUTPUT] = e.tiles[FC_INPUT] + tiles;
    e.pixels[FC_INPUT] = e.tiles[FC_OUTPUT] + tiles;
    e.pixels[FC_OUTPUT] = e.pixels[FC_INPUT] + p->n * p->h * p->w;
    return e;
}

/* A factor, with the largest exponents of its tiles; nothing is known of its pixels. */
static factor factor_of(const fc_backprop_filter *call, int own, const fc_exponents *exponents) {
    const fc_problem *p = &call->problem;
    const int is_input = own == FC_INPUT;
    const factor f = {.of = is_input ? &call->x : &call->dy,
                      .h = is_input ? p->h : p->oh,
                      .w = is_input ? p->w : p->ow,
                      .channels = is_input ? p->c : p->f,
                      .of_channels = exponents->channels[own],
                      .of_tiles = exponents->tiles[own],
                      .of_pixels = exponents->pixels[own]};
    memset(f.of_pixels, UNKNOWN, (size_t)(p->n * f.h * f.w));
    for (int64_t tile = 0; tile < call->winograd.grid.tiles; tile++) {
        const uint8_t *of = f.of_channels + tile * f.channels;
        uint8_t most = 0;
        for (int64_t c = 0; c < f.channels; c++) most = of[c] > most ? of[c] : most;
        f.of_tiles[tile] = most;
    }
    return f;
}

int fc_gradient_has_outliers(const fc_backprop_filter *call, const fc_exponents *exponents) {
    scales k = {.call = call,
                .g = &call->winograd.grid,
                .factors = {factor_of(call, FC_INPUT, exponents), factor_of(call, FC_OUTPUT, exponents)}};
    int most = 0, taps[FC_WIDEST * FC_WIDEST] = {0};
    int64_t largest = 0;
    for (int64_t tile = 0; tile < k.g->tiles; tile++) {
        const int found = weight_of(exponents->tiles[FC_INPUT][tile], exponents->tiles[FC_OUTPUT][tile]);
        if (found > most) most = found, largest = tile;
    }
    measure_taps(&k, NEITHER, 0, largest, taps);
    k.floor = least_of(&k, taps, 0);
    return !factor_is_sound(&k, FC_INPUT) || !factor_is_sound(&k, FC_OUTPUT);
}
