/* The loops of a matmul for few tokens, AVX-512: ROWS rows and up to four tokens at a time.  The includer has
 *   some_rows(a, r0, r1, t, x, tokens)  rows r0 .. r1 - 1, at most ROWS of them, times tokens t .. t + tokens - 1;
 *                                       `tokens` is a constant, and x what each_row was given                       */
INLINE void each_row(const lr_matmul_args *a, int64_t i0, int64_t i1, const void *x) {
    for (int64_t r0 = i0; r0 < i1; r0 += ROWS) {
        const int64_t r1 = lr_min(r0 + ROWS, i1);
        for (int64_t t = 0; t < a->x.n; t += MAX_TOKENS) {
            switch (lr_min(MAX_TOKENS, a->x.n - t)) {
            case 1: some_rows(a, r0, r1, t, x, 1); break;
            case 2: some_rows(a, r0, r1, t, x, 2); break;
            case 3: some_rows(a, r0, r1, t, x, 3); break;
            case 4: some_rows(a, r0, r1, t, x, 4); break;
            }
        }
    }
}
