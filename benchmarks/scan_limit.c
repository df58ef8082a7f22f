/* The limit of a scan: the smallest Hamming distance of each block of 64 codes, without keeping any neighbor.
   Tiles of 16 KiB are laid out word by word; at most 32 queries share one. least (n_queries) gets the smallest of all. */
#include <stdint.h>

#define BLOCK 64
#define TILE_WORDS 2048

void smallest_distances(const uint64_t *queries, long n_queries, const uint64_t *words, long n, long n_words, int64_t *least)
{
    uint64_t tile[TILE_WORDS];
    long length = TILE_WORDS / n_words / BLOCK * BLOCK;
    for (long start = 0; start < n; start += length) {
        long count = n - start < length ? n - start : length;
        for (long w = 0; w < n_words; w++)
            for (long i = 0; i < count; i++)
                tile[w * length + i] = words[(start + i) * n_words + w];
        for (long q = 0; q < n_queries; q++) {
            const uint64_t *query = queries + q * n_words;
            for (long block = 0; block < count; block += BLOCK) {
                uint64_t sums[BLOCK], smallest = UINT64_MAX;
                for (int i = 0; i < BLOCK; i++)
                    sums[i] = __builtin_popcountll(tile[block + i] ^ query[0]);
                for (long w = 1; w < n_words; w++)
                    for (int i = 0; i < BLOCK; i++)
                        sums[i] += __builtin_popcountll(tile[w * length + block + i] ^ query[w]);
                for (int i = 0; i < BLOCK; i++)
                    smallest = sums[i] < smallest ? sums[i] : smallest;
                if ((int64_t)smallest < least[q])
                    least[q] = (int64_t)smallest;
            }
        }
    }
}
