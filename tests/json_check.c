/* Reads one JSON document from stdin; ends with 0 if it is one, whole, and an object that has every key named.
 * Usage: json_check [KEY..]                                                                                           */
#include <cjson/cJSON.h>
#include <stdio.h>

int main(int argc, char **argv) {
    static char text[1 << 20];
    const char *end = NULL;
    size_t n = fread(text, 1, sizeof text - 1, stdin);
    text[n] = 0;
    cJSON *document = cJSON_ParseWithLengthOpts(text, n + 1, &end, 1);
    if (!document || !cJSON_IsObject(document)) {
        fprintf(stderr, "not a JSON object; wrong from: %.40s\n", end ? end : "");
        cJSON_Delete(document);
        return 1;
    }
    int missing = 0;
    for (int i = 1; i < argc; i++)
        if (!cJSON_HasObjectItem(document, argv[i])) {
            fprintf(stderr, "no key \"%s\"\n", argv[i]);
            missing = 1;
        }
    cJSON_Delete(document);
    return missing;
}
