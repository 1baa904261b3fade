/* SPDX-License-Identifier: MIT */
/* replay: runs a fuzz target over the files of a directory, without libFuzzer, so that every input that was
 * ever of interest is an ordinary test. Each input is handed over in memory of exactly its length, so that a
 * sanitizer sees a read past its end; what breaks is named on the last line of the output. An empty
 * directory is a failure: it means that nothing was tested. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes);

/* The contents in memory of their own. NULL: cannot be read. */
static uint8_t *read_file(const char *path, size_t *len_bytes)
{
    FILE *f = fopen(path, "rb");
    uint8_t *data = NULL;
    long end;

    if (!f)
        return NULL;
    if (fseek(f, 0, SEEK_END) == 0 && (end = ftell(f)) >= 0) {
        rewind(f);
        *len_bytes = (size_t)end;
        data = malloc(*len_bytes ? *len_bytes : 1);
        if (data && fread(data, 1, *len_bytes, f) != *len_bytes) {
            free(data);
            data = NULL;
        }
    }
    fclose(f);
    return data;
}

static int replay(const char *path)
{
    size_t len_bytes;
    uint8_t *data = read_file(path, &len_bytes);

    if (!data) {
        perror(path);
        return 1;
    }
    printf("%s: %zu bytes\n", path, len_bytes);
    fflush(stdout);
    LLVMFuzzerTestOneInput(data, len_bytes);
    free(data);
    return 0;
}

int main(int argc, char **argv)
{
    DIR *dir = argc == 2 ? opendir(argv[1]) : NULL;
    int count = 0, failed = 0;
    struct dirent *entry;

    if (!dir) {
        perror(argc == 2 ? argv[1] : "usage: replay DIRECTORY");
        return 1;
    }
    while ((entry = readdir(dir))) {
        char path[4096];

        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "%s/%s", argv[1], entry->d_name);
        failed += replay(path);
        count++;
    }
    closedir(dir);
    printf("%d inputs, %d unreadable\n", count, failed);
    return count == 0 || failed;
}
