/* nf4 and fp4 weights: a step is one block.  The table of values in f16 is looked up byte by byte.                    */
#ifndef LR_TILE_TABLE_CUH
#define LR_TILE_TABLE_CUH

#include "kernels/cuda/tile.cuh"

/* Table: low and high bytes of 16 values in f16, times what they are to be multiplied with.                          */
template <class Table> struct tile_table {
    enum { COLUMNS = 64, ROW_BYTES = 32, SCALE_BYTES = 4 };
    static constexpr bool IS_PLAIN = false, IS_BF16 = false;
    GPU_FN int chunk(int t, int part) { return t + 4 * part; }
    GPU_FN int column(int) { return 0; } /* a row has whole blocks */
    GPU_FN unsigned note(const uint8_t *) { return 0; }
    GPU_FN void fetch_scales(uint8_t *shared, const uint8_t *row, int column, int, bool valid) {
        cp_async4(shared, row + column / 64 * 4, valid);
    }
    GPU_FN void decode(unsigned w[8], const uint8_t *quants, const uint8_t *scales, int t, int, unsigned) {
        tile_factor d = tile_factor_of(*(const float *)scales * Table::unit());
        uint2 q = *(const uint2 *)(quants + 8 * t);
        GPU_UNROLL for (int i = 0; i < 4; i++) { /* of two bytes: low, high, low, high */
            unsigned two = (i < 2 ? q.x : q.y) >> (i & 1 ? 16 : 0), lower = Table::lower(two), upper = Table::upper(two);
            w[i] = tile_times(tile_half2(__byte_perm(lower, upper, 0x6240)), d);
            w[4 + i] = tile_times(tile_half2(__byte_perm(lower, upper, 0x7351)), d);
        }
    }
};

struct tile_values_nf4 {
    GPU_FN float unit() { return 1.0f; }
    GPU_FN unsigned lower(unsigned q) { return tile_lookup(0x52339200u, 0x00d4ea8du, 0x68e02618u, 0x00c9800du, q); }
    GPU_FN unsigned upper(unsigned q) { return tile_lookup(0xb6b8b9bcu, 0x00adb1b4u, 0x3533312du, 0x3c393837u, q); }
};
struct tile_values_fp4 { /* integers */
    GPU_FN float unit() { return 1.0f / 192.0f; }
    GPU_FN unsigned lower(unsigned q) { return tile_lookup(0x00000000u, 0x00000000u, 0x00000000u, 0x00000000u, q); }
    GPU_FN unsigned upper(unsigned q) { return tile_lookup(0x5a583c00u, 0x52505654u, 0xdad8bc00u, 0xd2d0d6d4u, q); }
};
typedef tile_table<tile_values_nf4> tile_nf4;
typedef tile_table<tile_values_fp4> tile_fp4;

#endif
