/* Kernels on the simulator compute what they should, in every schedule.                                              */
#include "tests/sim/cases.h"

#include "kernels/sim/cuda_bf16.h"

static void reduction_is_right() {
    for (const schedule &order : schedules) CHECK(row_sums_error(RIGHT, order) <= 1);
}

static void tensor_core_gemm_is_right() {
    static const int shapes[][3] = { { 64, 64, 32 }, { 64, 64, 64 }, { 1, 1, 8 }, { 67, 130, 104 }, { 5, 200, 40 } };
    for (const schedule &order : schedules)
        for (auto &shape : shapes) CHECK(gemm_error(RIGHT, shape[0], shape[1], shape[2], order) <= 1);
}

static void attention_is_right() {
    static const int lengths[] = { 1, 31, 33, 70 };
    for (const schedule &order : schedules)
        for (int n : lengths) CHECK(attention_error(RIGHT, n, order) <= 1);
}

static void mma_bf16_is_right() {
    new_devices(schedules[0]);
    std::vector<uint16_t> a(16 * 16), b(8 * 16);
    std::vector<float> want(16 * 8);
    uint32_t seed = 7;
    for (uint16_t &x : a) x = simgpu_float_to_bf16(random_float(&seed));
    for (uint16_t &x : b) x = simgpu_float_to_bf16(random_float(&seed));
    for (size_t i = 0; i < 16; i++)
        for (size_t j = 0; j < 8; j++)
            for (size_t k = 0; k < 16; k++)
                want[i * 8 + j] += simgpu_bf16_to_float(a[i * 16 + k]) * simgpu_bf16_to_float(b[j * 16 + k]);
    float *d = device_array<float>(want.size());
    CHECK(launch_mma_bf16(upload(a), upload(b), d, new_stream()) == cudaSuccess);
    CHECK(cudaDeviceSynchronize() == cudaSuccess);
    CHECK(largest_error(download(d, want.size()), want) < 1e-5f);
}

static void mma_s8_is_exact() {
    new_devices(schedules[0]);
    std::vector<int8_t> a(16 * 32), b(8 * 32);
    std::vector<int> want(16 * 8);
    uint32_t seed = 8;
    for (int8_t &x : a) x = (int8_t)(128 * random_float(&seed));
    for (int8_t &x : b) x = (int8_t)(128 * random_float(&seed));
    a[0] = b[0] = -128;
    for (size_t i = 0; i < 16; i++)
        for (size_t j = 0; j < 8; j++)
            for (size_t k = 0; k < 32; k++) want[i * 8 + j] += a[i * 32 + k] * b[j * 32 + k];
    int *d = device_array<int>(want.size());
    CHECK(launch_mma_s8(upload(a), upload(b), d, new_stream()) == cudaSuccess);
    CHECK(cudaDeviceSynchronize() == cudaSuccess);
    CHECK(download(d, want.size()) == want);
}

static void ldmatrix_follows_the_manual() {
    new_devices(schedules[1]);
    std::vector<uint16_t> rows(32 * 8);
    for (size_t i = 0; i < rows.size(); i++) rows[i] = (uint16_t)i;
    uint32_t *plain = device_array<uint32_t>(128), *transposed = device_array<uint32_t>(128);
    CHECK(launch_ldmatrix(upload(rows), plain, transposed, new_stream()) == cudaSuccess);
    CHECK(cudaDeviceSynchronize() == cudaSuccess);
    std::vector<uint32_t> p = download(plain, 128), t = download(transposed, 128);
    for (uint32_t matrix = 0; matrix < 4; matrix++)
        for (uint32_t lane = 0; lane < 32; lane++) {
            uint32_t row = lane / 4, col = lane % 4 * 2, base = matrix * 64;
            CHECK(p[matrix * 32 + lane] == (base + row * 8 + col) + (base + row * 8 + col + 1) * 65536);
            CHECK(t[matrix * 32 + lane] == (base + col * 8 + row) + (base + (col + 1) * 8 + row) * 65536);
        }
}

static void collectives_are_right() {
    for (const schedule &order : schedules) {
        new_devices(order);
        int *d = device_array<int>(COLLECTIVES * 32);
        CHECK(launch_collectives(d, new_stream()) == cudaSuccess);
        CHECK(cudaDeviceSynchronize() == cudaSuccess);
        std::vector<int> all = download(d, COLLECTIVES * 32);
        for (int lane = 0; lane < 32; lane++) {
            auto out = [&](int row) { return all[(size_t)(row * 32 + lane)]; };
            int tens = lane / 10;
            CHECK(out(SHUFFLE) == (lane + 5) % 32);
            CHECK(out(SHUFFLE_XOR) == (lane ^ 9));
            CHECK(out(SHUFFLE_UP) == (lane < 3 ? lane : lane - 3));
            CHECK(out(SHUFFLE_DOWN) == (lane > 28 ? lane : lane + 3));
            CHECK(out(SHUFFLE_NARROW) == (lane % 8 > 4 ? lane : lane + 3));
            CHECK(out(BALLOT) == 0x49249249);
            CHECK(out(ANY) == 1);
            CHECK(out(ALL) == 0);
            CHECK((unsigned)out(MATCH) == (tens == 3 ? 3u << 30 : 0x3ffu << (10 * tens)));
            CHECK(out(HALF_WARP) == (lane < 16 ? 15 - lane : -(lane ^ 1)));
        }
    }
}

static void atomics_and_votes_are_right() {
    for (const schedule &order : schedules) {
        new_devices(order);
        int *d = upload(std::vector<int>(3));
        CHECK(launch_atomics(d, 7, new_stream()) == cudaSuccess);
        CHECK(cudaDeviceSynchronize() == cudaSuccess);
        CHECK(download(d, 3) == std::vector<int>({ 7 * 96, 7 * 96 - 1, 32 + 1000 }));
    }
}

/* Half and bf16 agree with the compiler's own conversions.                                                           */
static void conversions_are_right() {
    int wrong = 0;
    uint32_t bits = 0;
    for (uint32_t h = 0; h < 65536; h++) {
        _Float16 value = simgpu_bits<_Float16>((uint16_t)h);
        float mine = simgpu_half_to_float((uint16_t)h);
        bool is_nan = (h & 0x7fff) > 0x7c00;
        wrong += is_nan ? !isnan(mine) : simgpu_bits<uint32_t>(mine) != simgpu_bits<uint32_t>((float)value);
        wrong += !is_nan && simgpu_float_to_half(mine) != h;
        float wide = simgpu_bf16_to_float((uint16_t)h);
        wrong += !isnan(wide) && simgpu_float_to_bf16(wide) != h;
    }
    for (int i = 0; i < 200000; i++, bits += 21467u) {
        float f = simgpu_bits<float>(bits);
        if (isnan(f)) continue;
        wrong += simgpu_float_to_half(f) != simgpu_bits<uint16_t>((_Float16)f);
    }
    CHECK(wrong == 0);
    CHECK(simgpu_float_to_bf16(simgpu_bits<float>(0x3f808000u)) == 0x3f80); /* tie to even */
    CHECK(simgpu_float_to_bf16(simgpu_bits<float>(0x3f818000u)) == 0x3f82);
}

int main() {
    RUN(reduction_is_right);
    RUN(tensor_core_gemm_is_right);
    RUN(attention_is_right);
    RUN(mma_bf16_is_right);
    RUN(mma_s8_is_exact);
    RUN(ldmatrix_follows_the_manual);
    RUN(collectives_are_right);
    RUN(atomics_and_votes_are_right);
    RUN(conversions_are_right);
    return tests.failed_cases != 0;
}
