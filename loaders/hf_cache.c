/* Looks up repo ids in the local Hugging Face cache; see hf_cache.h.  Nothing is downloaded.                         */
#include "loaders/hf_cache.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "loaders/loader.h"
#include "loaders/path.h"

enum { MAX_ID = 96, MAX_NEAR = 4, MAX_SEEN = 10000 };

bool lr_hf_cache_is_id(const char *model) {
    size_t n = strlen(model), slashes = 0;
    if (n == 0 || n > MAX_ID || strstr(model, "..") || strstr(model, "--")) return false;
    for (size_t i = 0; i < n; i++) {
        bool part_starts = i == 0 || model[i - 1] == '/';
        if (model[i] == '/')
            slashes++;
        else if (!isalnum((unsigned char)model[i]) && !strchr("._-", model[i]))
            return false;
        if (part_starts && (model[i] == '/' || model[i] == '.' || model[i] == '-')) return false;
    }
    return slashes <= 1 && model[n - 1] != '/';
}

static bool is_directory(const char *path) {
    struct stat st;
    return path && stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool is_commit(const char *text, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!isxdigit((unsigned char)text[i])) return false;
    return n > 0 && n <= 64;
}

/* ---- the snapshot of one repository ---- */

/* Appends the commit that refs/main names to dir.  A ref is text from a file: only hex digits may become a path.     */
static llmrun_status add_main_commit(lr_text *dir, const char *repo, llmrun_error *err) {
    lr_map m;
    lr_text ref = { 0 };
    lr_text_add(&ref, "%s/refs/main", repo);
    if (ref.failed) return lr_fail_nomem(err, repo, ref.cap);
    llmrun_status status = lr_map_open(&m, ref.text, true, err);
    if (!status) {
        size_t n = (size_t)m.size;
        while (n > 0 && isspace(m.data[n - 1])) n--;
        if (is_commit((const char *)m.data, n))
            lr_text_add(dir, "%s/snapshots/%.*s", repo, (int)n, (const char *)m.data);
        else
            status = lr_fail(err, LLMRUN_FORMAT, "%s: expected a commit of hex digits", ref.text);
        lr_map_close(&m);
    }
    lr_free(ref.text);
    return status;
}

/* Without refs/main (a download of one revision): the newest snapshot.                                               */
static void add_newest_snapshot(lr_text *dir, const char *repo) {
    lr_text all = { 0 }, best = { 0 };
    time_t newest = 0;
    lr_text_add(&all, "%s/snapshots", repo);
    DIR *d = all.failed ? NULL : opendir(all.text);
    for (struct dirent *e; d && (e = readdir(d));) {
        struct stat st;
        if (!is_commit(e->d_name, strlen(e->d_name)) || fstatat(dirfd(d), e->d_name, &st, 0) != 0) continue;
        if (!S_ISDIR(st.st_mode) || (best.n && st.st_mtime <= newest)) continue;
        newest = st.st_mtime;
        best.n = 0;
        lr_text_add(&best, "%s", e->d_name);
    }
    if (d) closedir(d);
    if (best.n) lr_text_add(dir, "%s/%s", all.text, best.text);
    dir->failed |= all.failed || best.failed;
    lr_free(all.text);
    lr_free(best.text);
}

/* *dir stays NULL if the repository has no snapshot.                                                                 */
static llmrun_status find_snapshot(char **dir, const char *repo, llmrun_error *err) {
    lr_text found = { 0 };
    llmrun_status status = add_main_commit(&found, repo, err);
    if (status == LLMRUN_IO) {
        status = LLMRUN_OK;
        add_newest_snapshot(&found, repo);
    }
    if (!status && found.failed) status = lr_fail_nomem(err, repo, found.cap);
    if (!status && is_directory(found.text))
        *dir = found.text;
    else
        lr_free(found.text);
    return status;
}

/* ---- what else is there ---- */

/* Edit distance of two ids, letters of either case alike.                                                            */
static size_t distance(const char *a, const char *b) {
    size_t row[MAX_ID + 1], n = strlen(b);
    for (size_t j = 0; j <= n; j++) row[j] = j;
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < n; j++) {
            size_t change = diagonal + (tolower((unsigned char)a[i]) != tolower((unsigned char)b[j]));
            size_t insert = (row[j] < row[j + 1] ? row[j] : row[j + 1]) + 1;
            diagonal = row[j + 1];
            row[j + 1] = change < insert ? change : insert;
        }
    }
    return row[n];
}

/* How far apart two ids are, their names without the organisation counting twice; SIZE_MAX: too far to mention.      */
static size_t unlikeness(const char *asked, const char *have) {
    const char *a = lr_path_base(asked), *h = lr_path_base(have);
    size_t names = distance(a, h);
    bool close = names <= strlen(a) / 3 || strcasestr(h, a) || strcasestr(a, h);
    return close ? names + distance(asked, have) : SIZE_MAX;
}

typedef struct near_list {
    size_t n, score[MAX_NEAR];
    char id[MAX_NEAR][MAX_ID + 1];
} near_list;

static void keep_nearest(near_list *list, const char *id, size_t score) {
    size_t at = list->n < MAX_NEAR ? list->n++ : MAX_NEAR;
    while (at > 0 && list->score[at - 1] > score) {
        at--;
        if (at + 1 < MAX_NEAR) {
            list->score[at + 1] = list->score[at];
            memcpy(list->id[at + 1], list->id[at], sizeof list->id[at]);
        }
    }
    if (at == MAX_NEAR) return;
    list->score[at] = score;
    memcpy(list->id[at], id, strlen(id) + 1);
}

static void collect_near(near_list *list, const char *asked, const char *hub) {
    static const char prefix[] = "models--";
    DIR *d = opendir(hub);
    size_t seen = 0;
    for (struct dirent *e; d && seen < MAX_SEEN && (e = readdir(d)); seen++) {
        char id[MAX_ID + 1];
        size_t skip = sizeof prefix - 1, n = strlen(e->d_name);
        if (strncmp(e->d_name, prefix, skip) != 0 || n - skip > MAX_ID) continue;
        memcpy(id, e->d_name + skip, n - skip + 1);
        char *dashes = strstr(id, "--");
        if (dashes) {
            *dashes = '/';
            memmove(dashes + 1, dashes + 2, strlen(dashes + 2) + 1);
        }
        size_t score = lr_hf_cache_is_id(id) ? unlikeness(asked, id) : SIZE_MAX;
        if (score != SIZE_MAX) keep_nearest(list, id, score);
    }
    if (d) closedir(d);
}

static llmrun_status not_found(const char *model, const char *const *hubs, llmrun_error *err) {
    near_list list = { 0 };
    lr_text near = { 0 };
    for (size_t i = 0; hubs && hubs[i]; i++) collect_near(&list, model, hubs[i]);
    for (size_t i = 0; i < list.n; i++) lr_text_add(&near, "%s%s", i ? ", " : "", list.id[i]);
    llmrun_status status =
        lr_fail(err, LLMRUN_IO,
                "%s: no such file, and not in the local Hugging Face cache%s%s; to download: hf download %s", model,
                near.text ? "; near it: " : "", near.text ? near.text : "", model);
    lr_free(near.text);
    return status;
}

llmrun_status lr_hf_cache_find(char **dir, const char *model, const char *const *hubs, llmrun_error *err) {
    *dir = NULL;
    const char *name = lr_path_base(model);
    for (size_t i = 0; hubs && hubs[i] && !*dir; i++) {
        lr_text repo = { 0 };
        llmrun_status status = LLMRUN_OK;
        if (name == model)
            lr_text_add(&repo, "%s/models--%s", hubs[i], model);
        else
            lr_text_add(&repo, "%s/models--%.*s--%s", hubs[i], (int)(name - model - 1), model, name);
        if (repo.failed)
            status = lr_fail_nomem(err, model, repo.cap);
        else if (is_directory(repo.text))
            status = find_snapshot(dir, repo.text, err);
        lr_free(repo.text);
        if (status) return status;
    }
    return *dir ? LLMRUN_OK : not_found(model, hubs, err);
}
