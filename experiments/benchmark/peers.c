/* One walker through a table, written by hand: what the sampler is measured against.

   A kernel draws an action and a next state a step, each by one 32-bit word. Those of the limit (alias tables, xoshiro,
   nothing kept but the state) do the least that there is to do. The others do the work of the sampler: its counters
   and its Threefry, its thresholds of actions and the costs; `inverse` finds next states in cumulative laws, the others
   in alias tables, so that they draw what the sampler draws, bit for bit. Laws: see dagger_jax/sampling.py. */

#include <pthread.h>
#include <stdint.h>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))
enum { MOVE = 0, START = 2, USES = 4, SEED = 3 }; /* randomness.Use; xoshiro starts from the gate's words */

typedef struct {
    uint32_t states, actions, horizon, width, action_width; /* widths: log2 of the entries of alias tables */
    uint32_t key[2];                                        /* of the round */
    const uint32_t *initial, *next;                         /* [E], [S, A, E] alias tables */
    const uint32_t *act;                                    /* [S, F] alias tables of actions */
    const uint32_t *below;                                  /* [S, A - 1] thresholds of actions */
    const uint32_t *initial_below, *next_below;             /* [S - 1], [S, A, S - 1] thresholds of states */
    const float *cost;                                      /* [S, A] */
} World;

typedef void Kernel(const World *world, uint32_t begin, uint32_t end, float *cost, uint32_t *state);

static const int turns[8] = {13, 15, 26, 6, 17, 29, 16, 24};

/* V: a word, or sixteen. */
#define GENERATORS(V, threefry, xoshiro, rotated)                                   \
    INLINE V rotated(V x, int turn) { return x << turn | x >> (32 - turn); }        \
    INLINE void threefry(const uint32_t *words, V *first, V *second) {              \
        const uint32_t key[3] = {words[0], words[1], words[0] ^ words[1] ^ 0x1BD11BDA}; \
        V x = *first + key[0], y = *second + key[1];                                \
        _Pragma("GCC unroll 20") for (int i = 0; i < 20; i++) {                     \
            x += y;                                                                 \
            y = rotated(y, turns[i % 8]) ^ x;                                       \
            if (i % 4 == 3) {                                                       \
                x += key[(i / 4 + 1) % 3];                                          \
                y += key[(i / 4 + 2) % 3] + i / 4 + 1;                              \
            }                                                                       \
        }                                                                           \
        *first = x, *second = y;                                                    \
    }                                                                               \
    INLINE V xoshiro(V *s) { /* 128+, Blackman and Vigna 2021 */                    \
        V found = s[0] + s[3], t = s[1] << 9;                                       \
        s[2] ^= s[0], s[3] ^= s[1], s[1] ^= s[2], s[0] ^= s[3], s[2] ^= t;          \
        s[3] = rotated(s[3], 11);                                                   \
        return found;                                                               \
    }

GENERATORS(uint32_t, threefry, xoshiro, rotated)

INLINE uint32_t draw(const uint32_t *table, uint32_t width, uint32_t word) {
    uint32_t entry = word >> (32 - width), packed = table[entry];
    return (word << width) >> width < packed >> width ? entry : packed & ((1u << width) - 1);
}

/* How many of `count` thresholds a word reaches: few are compared one by one, many are halved. */
INLINE uint32_t linear(const uint32_t *below, uint32_t count, uint32_t word) {
    uint32_t found = 0;
    word = word == UINT32_MAX ? word - 1 : word;
    for (uint32_t i = 0; i < count; i++) found += word >= below[i];
    return found;
}

INLINE uint32_t halved(const uint32_t *below, uint32_t count, uint32_t word) {
    uint32_t found = 0;
    word = word == UINT32_MAX ? word - 1 : word;
    for (uint32_t half = (count + 1) / 2; count; count -= half, half = (count + 1) / 2)
        found += half & -(uint32_t)(word >= below[found + half - 1]); /* no branch: nobody could predict it */
    return found;
}

/* limit: the least, or what the sampler does; table: next states by alias tables, or by thresholds. */
INLINE void one_by_one(const World *w, uint32_t begin, uint32_t end, float *cost, uint32_t *state, int limit,
                       int table) {
    for (uint32_t episode = begin; episode < end; episode++) {
        uint32_t x = episode, y = START, seed[4] = {episode, SEED, episode, SEED + USES}, at;
        float total = 0;
        threefry(w->key, &x, &y);
        if (limit) threefry(w->key, seed, seed + 1), threefry(w->key, seed + 2, seed + 3);
        at = table ? draw(w->initial, w->width, x) : halved(w->initial_below, w->states - 1, x);
        for (uint32_t step = 0; step < w->horizon; step++) {
            uint32_t action, pair;
            if (limit) {
                x = xoshiro(seed), y = xoshiro(seed);
                action = draw(w->act + (at << w->action_width), w->action_width, x);
            } else {
                x = episode, y = step * USES + MOVE;
                threefry(w->key, &x, &y);
                action = linear(w->below + at * (w->actions - 1), w->actions - 1, x);
            }
            pair = at * w->actions + action;
            if (!limit) total += w->cost[pair];
            at = table ? draw(w->next + (pair << w->width), w->width, y)
                       : halved(w->next_below + pair * (w->states - 1), w->states - 1, y);
        }
        cost[episode] = total, state[episode] = at;
    }
}

static void scalar(const World *w, uint32_t begin, uint32_t end, float *cost, uint32_t *state) {
    one_by_one(w, begin, end, cost, state, 1, 1);
}

static void scalar_same(const World *w, uint32_t begin, uint32_t end, float *cost, uint32_t *state) {
    one_by_one(w, begin, end, cost, state, 0, 1);
}

#ifdef __AVX512F__
typedef uint32_t Words __attribute__((vector_size(64)));
enum { LANES = 16, AT_ONCE = 4 }; /* so many vectors side by side hide how long a gather takes */

GENERATORS(Words, threefry16, xoshiro16, rotated16)

INLINE Words gathered(const uint32_t *table, Words index) {
    return (Words)_mm512_i32gather_epi32((__m512i)index, table, 4);
}

INLINE Words chosen(__mmask16 condition, Words yes, Words no) {
    return (Words)_mm512_mask_blend_epi32(condition, (__m512i)no, (__m512i)yes);
}

INLINE Words draw16(const uint32_t *table, Words offset, uint32_t width, Words word) {
    Words entry = word >> (32 - width), packed = gathered(table, offset + entry);
    __mmask16 own = _mm512_cmplt_epu32_mask((__m512i)(word << width >> width), (__m512i)(packed >> width));
    return chosen(own, entry, packed & ((1u << width) - 1));
}

INLINE Words linear16(const uint32_t *below, Words offset, uint32_t count, Words word) {
    Words found = word ^ word;
    word = (Words)_mm512_min_epu32((__m512i)word, _mm512_set1_epi32(-2));
    for (uint32_t i = 0; i < count; i++) {
        Words threshold = gathered(below, offset + i);
        found = chosen(_mm512_cmpge_epu32_mask((__m512i)word, (__m512i)threshold), found + 1, found);
    }
    return found;
}

INLINE Words halved16(const uint32_t *below, Words offset, uint32_t count, Words word) {
    Words found = word ^ word;
    word = (Words)_mm512_min_epu32((__m512i)word, _mm512_set1_epi32(-2));
    for (uint32_t half = (count + 1) / 2; count; count -= half, half = (count + 1) / 2) {
        Words threshold = gathered(below, offset + found + (half - 1));
        found = chosen(_mm512_cmpge_epu32_mask((__m512i)word, (__m512i)threshold), found + half, found);
    }
    return found;
}

INLINE void abreast(const World *w, uint32_t begin, uint32_t end, float *cost, uint32_t *state, int limit, int table) {
    const Words lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, none = lane ^ lane;
    for (; end - begin >= LANES * AT_ONCE; begin += LANES * AT_ONCE) {
        Words at[AT_ONCE], seed[AT_ONCE][4];
        __m512 total[AT_ONCE];
        for (int n = 0; n < AT_ONCE; n++) {
            Words episode = begin + n * LANES + lane, x = episode, y = none + START;
            threefry16(w->key, &x, &y);
            at[n] = table ? draw16(w->initial, none, w->width, x)
                          : halved16(w->initial_below, none, w->states - 1, x);
            total[n] = _mm512_setzero_ps();
            seed[n][0] = seed[n][2] = episode, seed[n][1] = none + SEED, seed[n][3] = none + SEED + USES;
            threefry16(w->key, &seed[n][0], &seed[n][1]), threefry16(w->key, &seed[n][2], &seed[n][3]);
        }
        for (uint32_t step = 0; step < w->horizon; step++) {
            _Pragma("GCC unroll 4") for (int n = 0; n < AT_ONCE; n++) {
                Words action, pair, x, y;
                if (limit) {
                    x = xoshiro16(seed[n]), y = xoshiro16(seed[n]);
                    action = draw16(w->act, at[n] << w->action_width, w->action_width, x);
                } else {
                    x = begin + n * LANES + lane, y = none + (step * USES + MOVE);
                    threefry16(w->key, &x, &y);
                    action = linear16(w->below, at[n] * (w->actions - 1), w->actions - 1, x);
                }
                pair = at[n] * w->actions + action;
                if (!limit) total[n] = _mm512_add_ps(total[n], _mm512_i32gather_ps((__m512i)pair, w->cost, 4));
                at[n] = table ? draw16(w->next, pair << w->width, w->width, y)
                              : halved16(w->next_below, pair * (w->states - 1), w->states - 1, y);
            }
        }
        for (int n = 0; n < AT_ONCE; n++) {
            _mm512_storeu_ps(cost + begin + n * LANES, total[n]);
            _mm512_storeu_si512(state + begin + n * LANES, (__m512i)at[n]);
        }
    }
    one_by_one(w, begin, end, cost, state, limit, table); /* what is left of the batch */
}

static void avx512(const World *w, uint32_t begin, uint32_t end, float *cost, uint32_t *state) {
    abreast(w, begin, end, cost, state, 1, 1);
}

static void avx512_same(const World *w, uint32_t begin, uint32_t end, float *cost, uint32_t *state) {
    abreast(w, begin, end, cost, state, 0, 1);
}
#else
#define abreast one_by_one
static Kernel *const avx512 = 0, *const avx512_same = 0;
#endif

static void inverse(const World *w, uint32_t begin, uint32_t end, float *cost, uint32_t *state) {
    abreast(w, begin, end, cost, state, 0, 0);
}

typedef struct {
    Kernel *kernel;
    const World *world;
    uint32_t begin, end;
    float *cost;
    uint32_t *state;
} Part;

static void *run(void *given) {
    Part *part = given;
    part->kernel(part->world, part->begin, part->end, part->cost, part->state);
    return 0;
}

enum { MOST = 1024 };

/* Episodes 0 .. count - 1 by a kernel, divided among threads. 0: done; 1: no such kernel here; 2: no such thread. */
int play(int kernel, const World *world, uint32_t count, int threads, float *cost, uint32_t *state) {
    Kernel *kernels[] = {scalar_same, avx512_same, inverse, scalar, avx512};
    pthread_t started[MOST];
    Part parts[MOST];
    int running = 0;
    if (!kernels[kernel]) return 1;
    threads = threads < MOST ? threads : MOST;
    for (; running < threads; running++) {
        Part part = {kernels[kernel], world, (uint64_t)count * running / threads,
                     (uint64_t)count * (running + 1) / threads, cost, state};
        parts[running] = part;
        if (running && pthread_create(&started[running], 0, run, &parts[running])) break;
    }
    if (running) run(&parts[0]);
    for (int n = 1; n < running; n++) pthread_join(started[n], 0);
    return running == threads ? 0 : 2;
}
