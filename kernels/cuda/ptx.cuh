/* All inline PTX of the project, one wrapper for each instruction, with its emulation beside it.  Included by
 * kernels/cuda/gpu.h.  Matrix fragments are those of the PTX manual, for lane l with g = l / 4 and t = l % 4:
 *   m16n8k16, two 16-bit values a register:  a[0..3] at (row g, k 2t), (g+8, 2t), (g, 2t+8), (g+8, 2t+8)
 *                                            b[0..1] at (k 2t, column g), (2t+8, g)
 *   m16n8k32, four 8-bit values a register:  a[0..3] at (g, 4t), (g+8, 4t), (g, 4t+16), (g+8, 4t+16)
 *                                            b[0..1] at (4t, g), (4t+16, g)
 *   c and d, 32 bits each:                   (g, 2t), (g, 2t+1), (g+8, 2t), (g+8, 2t+1)                              */
#ifndef LR_PTX_CUH
#define LR_PTX_CUH

#ifdef SIMGPU
#define GPU_AT , SIMGPU_AT /* the simulator reports the line of the caller */
#else
#define GPU_AT
static __device__ __forceinline__ unsigned gpu_shared_address(const void *p) {
    return (unsigned)__cvta_generic_to_shared(p);
}
#endif
#define GPU_FN static __device__ __forceinline__

/* ---- matrices from shared memory ---- */

/* Four 8 x 8 matrices of 16-bit values.  Lanes 8i..8i+7 pass the rows of matrix i (16 bytes each, aligned); lane l
 * gets in r[i] the elements 2t and 2t+1 of row g of matrix i.                                                        */
GPU_FN void ldmatrix_x4(unsigned r[4], const void *row GPU_AT) {
#ifdef SIMGPU
    uint16_t mine[8]; /* read here, in the kernel's own code, where the sanitizers see it */
    simgpu::check_matrix_row(row, file, line);
    memcpy(mine, row, sizeof mine);
    simgpu::ldmatrix(r, mine, false, file, line);
#else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(gpu_shared_address(row))
                 : "memory");
#endif
}

/* The same, each matrix transposed: r[i] holds rows 2t and 2t+1 of column g.                                         */
GPU_FN void ldmatrix_x4_trans(unsigned r[4], const void *row GPU_AT) {
#ifdef SIMGPU
    uint16_t mine[8];
    simgpu::check_matrix_row(row, file, line);
    memcpy(mine, row, sizeof mine);
    simgpu::ldmatrix(r, mine, true, file, line);
#else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(gpu_shared_address(row))
                 : "memory");
#endif
}

/* ---- matrix multiply-add: d = a * b + c; d may be c.  All 32 lanes take part. ---- */

GPU_FN void mma_m16n8k16_f16(float d[4], const unsigned a[4], const unsigned b[2], const float c[4] GPU_AT) {
#ifdef SIMGPU
    simgpu::mma_f16(d, a, b, c, file, line);
#elif GPU_ARCH >= 800
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%10,%11,%12,%13};"
                 : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]), "f"(c[1]), "f"(c[2]),
                   "f"(c[3]));
#else /* sm_75: two steps of k8 on the same registers */
    asm volatile("{ .reg .f32 t0,t1,t2,t3;\n"
                 "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {t0,t1,t2,t3}, {%4,%5}, {%8}, {%10,%11,%12,%13};\n"
                 "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%6,%7}, {%9}, {t0,t1,t2,t3}; }"
                 : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]), "f"(c[1]), "f"(c[2]),
                   "f"(c[3]));
#endif
}

/* sm_75 has no bf16 tensor cores: the kernel traps there, callers choose f16.                                        */
GPU_FN void mma_m16n8k16_bf16(float d[4], const unsigned a[4], const unsigned b[2], const float c[4] GPU_AT) {
#ifdef SIMGPU
    simgpu::mma_bf16(d, a, b, c, file, line);
#elif GPU_ARCH >= 800
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%10,%11,%12,%13};"
                 : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]), "f"(c[1]), "f"(c[2]),
                   "f"(c[3]));
#else
    __trap();
#endif
}

GPU_FN void mma_m16n8k32_s8(int d[4], const unsigned a[4], const unsigned b[2], const int c[4] GPU_AT) {
#ifdef SIMGPU
    simgpu::mma_s8(d, a, b, c, file, line);
#elif GPU_ARCH >= 800
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%10,%11,%12,%13};"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(c[0]), "r"(c[1]), "r"(c[2]),
                   "r"(c[3]));
#else /* sm_75: rows g and g+8 apart, two steps of k16 each */
    asm volatile("{ .reg .s32 t0,t1,t2,t3;\n"
                 "mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {t0,t1}, {%4}, {%8}, {%10,%11};\n"
                 "mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {t2,t3}, {%5}, {%8}, {%12,%13};\n"
                 "mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0,%1}, {%6}, {%9}, {t0,t1};\n"
                 "mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%2,%3}, {%7}, {%9}, {t2,t3}; }"
                 : "=&r"(d[0]), "=&r"(d[1]), "=&r"(d[2]), "=&r"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(c[0]), "r"(c[1]), "r"(c[2]),
                   "r"(c[3]));
#endif
}

/* ---- 2 to the power of x; 0 where that is below the normal range ---- */

GPU_FN float exp2_approximate(float x) {
#ifdef SIMGPU
    return x < -126.0f ? 0.0f : exp2f(x);
#else
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#endif
}

/* ---- bytes ---- */

/* Byte i is byte n of the 8 bytes of a, then b, where n is the low three bits of nibble i of the selector; its sign
 * alone, 0 or 255, where the nibble's high bit is set.  (Of __byte_perm the documentation leaves that bit open.)     */
GPU_FN unsigned permute_bytes(unsigned a, unsigned b, unsigned selector) {
#ifdef SIMGPU
    return __byte_perm(a, b, selector);
#else
    unsigned r;
    asm("prmt.b32 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(selector));
    return r;
#endif
}

/* ---- kernels that are launched early (gpu_queue) ---- */

/* Lets the next kernel be launched, and waits until those ahead have ended and what they wrote can be read.  Nothing is
 * to be waited for where the launch was not early.                                                                   */
GPU_FN void gpu_wait_for_queue() {
#if !defined(SIMGPU) && GPU_ARCH >= 900
    asm volatile("griddepcontrol.launch_dependents;\n\tgriddepcontrol.wait;" ::: "memory");
#endif
}

/* Fetches the 128 bytes around p into the L2 cache.                                                                  */
GPU_FN void prefetch_l2(const void *p) {
#ifdef SIMGPU
    (void)p;
#else
    asm volatile("prefetch.global.L2 [%0];" ::"l"(p));
#endif
}

/* ---- asynchronous copies to shared memory; sm_75 copies at once ---- */

/* 16 bytes, both sides aligned; zeros when !valid (nothing is read).  The target is undefined until the wait. */
GPU_FN void cp_async16(void *shared, const void *global, bool valid GPU_AT) {
#ifdef SIMGPU
    simgpu::copy_async(shared, global, 16, valid ? 16 : 0, file, line);
#elif GPU_ARCH >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(gpu_shared_address(shared)), "l"(global),
                 "r"(valid ? 16 : 0)
                 : "memory");
#else
    *(uint4 *)shared = valid ? *(const uint4 *)global : make_uint4(0, 0, 0, 0);
#endif
}

/* The same for 4 bytes.                                                                                              */
GPU_FN void cp_async4(void *shared, const void *global, bool valid GPU_AT) {
#ifdef SIMGPU
    simgpu::copy_async(shared, global, 4, valid ? 4 : 0, file, line);
#elif GPU_ARCH >= 800
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(gpu_shared_address(shared)), "l"(global),
                 "r"(valid ? 4 : 0)
                 : "memory");
#else
    *(unsigned *)shared = valid ? *(const unsigned *)global : 0;
#endif
}

/* Closes the group of the copies issued since the last commit.                                                       */
GPU_FN void cp_async_commit() {
#ifdef SIMGPU
    simgpu::copy_commit();
#elif GPU_ARCH >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

/* Waits until at most N groups of this thread are pending; a barrier must follow before other threads read.          */
template <int N> GPU_FN void cp_async_wait() {
#ifdef SIMGPU
    simgpu::copy_wait(N);
#elif GPU_ARCH >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
#endif
}

#endif
