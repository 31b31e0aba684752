/* The safetensors reader: what it gives for good files, and its sentence for each way in which a file can lie.       */
#include "tests/model_files.h"

static const char two[] = "{\"__metadata__\":{\"format\":\"pt\"},"
                          "\"b\":{\"dtype\":\"F16\",\"shape\":[4],\"data_offsets\":[24,32]},"
                          "\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]}}  ";

typedef struct directory {
    lr_tensor *tensors;
    size_t n, cap;
} directory;

static llmrun_status read_bytes(const void *bytes, size_t n, directory *d) {
    uint8_t *exact = malloc(n ? n : 1);
    assert_non_null(exact);
    if (n) memcpy(exact, bytes, n);
    lr_map m = { .data = exact, .size = n, .path = (char *)(uintptr_t) "t.safetensors", .heap = true, .fd = -1 };
    *d = (directory){ 0 };
    llmrun_status status = lr_safetensors_read(&m, 7, &d->tensors, &d->n, &d->cap, &err);
    for (size_t i = 0; i < d->n; i++) {
        uint64_t at = (uint64_t)(d->tensors[i].data - exact);
        assert_true(at <= n && d->tensors[i].bytes <= n - at);
    }
    free(exact);
    return status;
}

static llmrun_status read_header(const char *header, size_t n_data, directory *d) {
    image im = new_image(header, n_data);
    llmrun_status status = read_bytes(im.bytes, im.n, d);
    free(im.bytes);
    return status;
}

static const lr_tensor *find(const directory *d, const char *name) {
    for (size_t i = 0; i < d->n; i++)
        if (strcmp(d->tensors[i].name, name) == 0) return &d->tensors[i];
    fail_msg("no tensor %s", name);
    return NULL;
}

static void good_file(void **state) {
    (void)state;
    image im = new_image(two, 32);
    lr_map m = { .data = im.bytes, .size = im.n, .path = (char *)(uintptr_t) "t.safetensors", .fd = -1 };
    directory d = { 0 };
    EXPECT_OK(lr_safetensors_read(&m, 7, &d.tensors, &d.n, &d.cap, &err));
    assert_int_equal(d.n, 2);
    const lr_tensor *a = find(&d, "a"), *b = find(&d, "b");
    assert_int_equal(a->dtype, LR_DT_F32);
    assert_int_equal(a->n_dims, 2);
    assert_int_equal(a->shape[0], 2);
    assert_int_equal(a->shape[1], 3);
    assert_int_equal(a->bytes, 24);
    assert_int_equal(a->file, 7);
    assert_int_equal(a->data[0], 0);
    assert_int_equal(b->dtype, LR_DT_F16);
    assert_int_equal(b->data[0], 24);
    /* A second file appends; a bad one leaves the list as it was. */
    EXPECT_OK(lr_safetensors_read(&m, 8, &d.tensors, &d.n, &d.cap, &err));
    assert_int_equal(d.n, 4);
    m.size--;
    EXPECT_FAIL(lr_safetensors_read(&m, 9, &d.tensors, &d.n, &d.cap, &err), LLMRUN_FORMAT, "download incomplete");
    assert_int_equal(d.n, 4);
    lr_tensors_free(d.tensors, d.n);
    free(im.bytes);
}

static void legal_oddities(void **state) {
    (void)state;
    static const struct { const char *header; size_t n_data, n_tensors; } row[] = {
        { "{}", 0, 0 },
        { "{\"__metadata__\":{}}", 0, 0 },
        { "{\"s\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", 4, 1 },
        { "{\"z\":{\"dtype\":\"F32\",\"shape\":[0,9],\"data_offsets\":[0,0]}}", 0, 1 },
        { "{\"z\":{\"dtype\":\"I8\",\"shape\":[3],\"data_offsets\":[0,3]},"
          "\"e\":{\"dtype\":\"I8\",\"shape\":[0],\"data_offsets\":[3,3]}}", 3, 2 },
        { "{\"e\":{\"dtype\":\"I8\",\"shape\":[0],\"data_offsets\":[0,0]},"
          "\"z\":{\"dtype\":\"I8\",\"shape\":[3],\"data_offsets\":[0,3]}}", 3, 2 },
        { "{\"h\":{\"dtype\":\"F4\",\"shape\":[2,3],\"data_offsets\":[0,3]}}", 3, 1 },
        { "{\"h\":{\"dtype\":\"F6_E2M3\",\"shape\":[4],\"data_offsets\":[0,3]}}", 3, 1 },
        { "{\"u\":{\"dtype\":\"F8_E4M3FNUZ\",\"shape\":[5],\"data_offsets\":[0,5]}}", 5, 1 },
        { "{\"\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, 1 },
        { "{\"d\":{\"dtype\":\"I8\",\"shape\":[1,1,1,1,1,1,1,2],\"data_offsets\":[0,2]}}", 2, 1 },
    };
    for (size_t i = 0; i < LR_COUNT(row); i++) {
        directory d;
        EXPECT_OK(read_header(row[i].header, row[i].n_data, &d));
        assert_int_equal(d.n, row[i].n_tensors);
        lr_tensors_free(d.tensors, d.n);
    }
}

#define T(name, dtype, shape, offsets) \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void hostile_headers(void **state) {
    (void)state;
    static const struct { const char *header; size_t n_data; const char *words; } row[] = {
        { "", 0, "expected '{'" },
        { " {}", 0, "expected '{'" },
        { "[]", 0, "expected '{'" },
        { "{\"a\xff\":1}", 0, "header: invalid UTF-8 at byte 3" },
        { "{\"a\":", 0, "got the end at byte 5" },
        { "{} x", 0, "expected the end of the document at byte 3" },
        { "{\"a\\u0000b\":{}}", 0, "u0000" },
        { "{" T("model.norm.weight", "I8", "[1]", "[0,1]") "," T("model.norm.weight", "I8", "[1]", "[1,2]") "}", 2,
          "tensor \"model.norm.weight\" defined twice" },
        { "{\"__metadata__\":{},\"__metadata__\":{}}", 0, "\"__metadata__\" defined twice" },
        { "{\"__metadata__\":[]}", 0, "__metadata__ must be an object" },
        { "{\"__metadata__\":{\"a\":1}}", 0, "must map strings to strings" },
        { "{\"w\":3}", 0, "tensor \"w\": expected an object, got 3" },
        { "{\"w\":{}}", 0, "\"dtype\" is missing" },
        { "{\"w\":{\"dtype\":\"I8\",\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
          "tensor \"w\": \"dtype\" defined twice" },
        { "{\"w\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":1}}", 1, "key \"x\" is not part" },
        { "{" T("w", "F32", "[1099511627776,1099511627776]", "[0,8]") "}", 8, "tensor \"w\": shape overflows 64 bits" },
        { "{" T("w", "F32", "[2305843009213693952]", "[0,8]") "}", 8, "got 2.305843009213694e+18" },
        { "{" T("w", "F32", "[4503599627370496,1024]", "[0,8]") "}", 8, "shape overflows 64 bits" },
        { "{" T("w", "F32", "[1,1,1,1,1,1,1,1,2]", "[0,8]") "}", 8, "at most 8 dimensions" },
        { "{" T("w", "F32", "2", "[0,8]") "}", 8, "shape: expected an array, got 2" },
        { "{" T("w", "F32", "[\"2\"]", "[0,8]") "}", 8, "got \"2\"" },
        { "{" T("w", "U8", "[4]", "[900,700]") "}", 512,
          "tensor \"w\": bytes 900..700 not inside data section 0..512" },
        { "{" T("w", "U8", "[600]", "[0,600]") "}", 512,
          "bytes 0..600 not inside data section 0..512; download incomplete? (file has 577 bytes)" },
        { "{" T("w", "U8", "[4]", "[0]") "}", 4, "expected an array of two integers" },
        { "{" T("w", "U8", "[4]", "[0,4,4]") "}", 4, "expected an array of two integers" },
        { "{" T("w", "U8", "[4]", "{\"a\":0,\"b\":4}") "}", 4, "expected an array of two integers" },
        { "{" T("w", "BF16", "[4,4]", "[0,64]") "}", 64, "tensor \"w\": BF16 [4,4] needs 32 bytes, offsets give 64" },
        { "{" T("w", "F4", "[3]", "[0,1]") "}", 1, "does not fill whole bytes" },
        { "{" T("w", "U8", "[4]", "[0,4]") "," T("v", "U8", "[4]", "[2,6]") "}", 6,
          "tensor \"v\": begins at byte 2 of the data section, expected 4 (overlap)" },
        { "{" T("w", "U8", "[4]", "[0,4]") "," T("v", "U8", "[4]", "[6,10]") "}", 10, "expected 4 (hole)" },
        { "{" T("w", "U8", "[4]", "[1,5]") "}", 5, "expected 0 (hole)" },
        { "{" T("w", "U8", "[4]", "[0,4]") "}", 4100,
          "4096 bytes after the last tensor; file is not plain safetensors" },
        { "{}", 5, "5 bytes after the last tensor" },
        { "{" T("w", "F7", "[4]", "[0,4]") "}", 4, "dtype \"F7\" not supported; known: BF16, F16, F32" },
        { "{" T("w", "f32", "[1]", "[0,4]") "}", 4, "dtype \"f32\" not supported" },
        { "{\"w\":{\"dtype\":3,\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "dtype 3 not supported" },
    };
    for (size_t i = 0; i < LR_COUNT(row); i++) {
        directory d;
        EXPECT_FAIL(read_header(row[i].header, row[i].n_data, &d), LLMRUN_FORMAT, row[i].words);
        assert_non_null(strstr(err.message, "t.safetensors"));
        assert_int_equal(d.n, 0);
        lr_tensors_free(d.tensors, d.n);
    }
}

static void deep_header(void **state) {
    (void)state;
    static const size_t depths[] = { 66, 100000, 1000000 };
    for (size_t i = 0; i < LR_COUNT(depths); i++) {
        size_t n = depths[i];
        char *header = malloc(n + 6);
        memcpy(header, "{\"a\":", 5);
        memset(header + 5, '[', n);
        header[n + 5] = 0;
        directory d;
        EXPECT_FAIL(read_header(header, 0, &d), LLMRUN_FORMAT, "nesting deeper than 64");
        free(header);
    }
}

/* Row 2 and 3 of the corpus: what the first eight bytes may claim.                                                   */
static void header_lengths(void **state) {
    (void)state;
    static const struct { uint64_t length; const char *words; } row[] = {
        { 0, "expected '{'" },
        { 1, "header: expected" },
        { 100000001, "header length 100000001 exceeds limit 100000000" },
        { 100000000, "header ends at byte 100000008, file has" },
        { (1ull << 31) - 1, "exceeds limit" },
        { 1ull << 31, "exceeds limit" },
        { (1ull << 32) - 1, "exceeds limit" },
        { (1ull << 32) + 1, "exceeds limit" },
        { 1ull << 63, "header length 9223372036854775808 exceeds limit 100000000" },
        { UINT64_MAX, "header length 18446744073709551615 exceeds limit" },
        { UINT64_MAX - 7, "exceeds limit" },
    };
    for (size_t i = 0; i < LR_COUNT(row); i++) {
        image im = new_image(two, 32);
        for (size_t k = 0; k < 8; k++) im.bytes[k] = (uint8_t)(row[i].length >> 8 * k);
        directory d;
        EXPECT_FAIL(read_bytes(im.bytes, im.n, &d), LLMRUN_FORMAT, row[i].words);
        free(im.bytes);
    }
}

static void every_truncation(void **state) {
    (void)state;
    image im = new_image(two, 32);
    directory d;
    for (size_t n = 0; n < im.n; n++) {
        char words[64] = "download incomplete?";
        if (n < 8) snprintf(words, sizeof words, "file is %zu bytes, header needs at least 8", n);
        EXPECT_FAIL(read_bytes(im.bytes, n, &d), LLMRUN_FORMAT, words);
        lr_tensors_free(d.tensors, d.n);
    }
    EXPECT_OK(read_bytes(im.bytes, im.n, &d));
    lr_tensors_free(d.tensors, d.n);
    free(im.bytes);
}

/* Every integer of the header, alone and in pairs, takes every value at which arithmetic tends to break.             */
static void integer_fields(void **state) {
    (void)state;
    static const char *const value[] = {
        "0", "1", "2147483647", "2147483648", "2147483649", "4294967295", "4294967296", "4294967297",
        "9007199254740991",
        "9007199254740992", "9007199254740993", "9223372036854775807", "9223372036854775808", "9223372036854775809",
        "18446744073709551615", "18446744073709551616", "18446744073709551552", "-1", "-0.5", "0.5", "1e400", "-1e400",
        "true", "null", "\"1\"", "[]",
    };
    static const char *const valid[] = { "2", "3", "0", "24", "4", "24", "32" };
    enum { N = LR_COUNT(valid) };
    for (size_t f = 0; f < N; f++)
        for (size_t g = f; g < N; g++)
            for (size_t v = 0; v < LR_COUNT(value); v++)
                for (size_t w = 0; w < (f == g ? 1 : LR_COUNT(value)); w++) {
                    const char *x[N];
                    char header[512];
                    memcpy(x, valid, sizeof x);
                    if (g != f) x[g] = value[w];
                    x[f] = value[v];
                    bool same = strcmp(x[f], valid[f]) == 0 && strcmp(x[g], valid[g]) == 0;
                    snprintf(header, sizeof header,
                             "{\"a\":{\"dtype\":\"F32\",\"shape\":[%s,%s],\"data_offsets\":[%s,%s]},"
                             "\"b\":{\"dtype\":\"F16\",\"shape\":[%s],\"data_offsets\":[%s,%s]}}",
                             x[0], x[1], x[2], x[3], x[4], x[5], x[6]);
                    directory d;
                    llmrun_status status = read_header(header, 32, &d);
                    if (status != (same ? LLMRUN_OK : LLMRUN_FORMAT))
                        fail_msg("%s: %d %s", header, status, err.message);
                    lr_tensors_free(d.tensors, d.n);
                }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_file),       cmocka_unit_test(legal_oddities), cmocka_unit_test(hostile_headers),
        cmocka_unit_test(deep_header),     cmocka_unit_test(header_lengths), cmocka_unit_test(every_truncation),
        cmocka_unit_test(integer_fields),
    };
    return cmocka_run_group_tests_name("safetensors", tests, NULL, NULL);
}
