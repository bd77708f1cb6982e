/* What a disk has when its power goes, and no more: loaded into a gateway before libc, it copies a file to CUT_DISK each time that the gateway
 * has it synced, and notes the names in the folder CUT_ROOT each time that the folder is. What was written and not synced is in neither, so
 * what lies under CUT_DISK is the least that a disk may be left with. A removed file is there until its folder is synced. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

/* Copies by the descriptor itself: to open and close the file anew would let go of SQLite's locks. */
static void copy(int from, const char *disk, const char *name) {
    char place[PATH_MAX], fresh[PATH_MAX + 8], piece[1 << 16];
    snprintf(place, sizeof place, "%s/%s", disk, name);
    snprintf(fresh, sizeof fresh, "%s.fresh", place);
    int to = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (to < 0) abort();
    off_t at = 0;
    ssize_t count;
    while ((count = pread(from, piece, sizeof piece, at)) > 0) {
        if (pwrite(to, piece, count, at) != count) abort();
        at += count;
    }
    if (count < 0 || close(to) || rename(fresh, place)) abort();
}

static void note_names(const char *root, const char *disk) {
    char names[PATH_MAX], place[PATH_MAX + 300];
    struct dirent *entry;
    snprintf(names, sizeof names, "%s/names", disk);
    DIR *folder = opendir(names);
    while (folder && (entry = readdir(folder))) {
        snprintf(place, sizeof place, "%s/%s", root, entry->d_name);
        if (entry->d_name[0] == '.' || !access(place, F_OK)) continue;
        snprintf(place, sizeof place, "%s/%s", names, entry->d_name);
        unlink(place);
        snprintf(place, sizeof place, "%s/%s", disk, entry->d_name);
        unlink(place);
    }
    if (folder) closedir(folder);
    folder = opendir(root);
    while (folder && (entry = readdir(folder))) {
        if (entry->d_name[0] == '.') continue;
        snprintf(place, sizeof place, "%s/%s", names, entry->d_name);
        close(open(place, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    }
    if (folder) closedir(folder);
}

static void synced(int fd) {
    const char *root = getenv("CUT_ROOT"), *disk = getenv("CUT_DISK");
    char link[64], path[PATH_MAX];
    struct stat is;
    if (!root || !disk || fstat(fd, &is)) return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return;
    path[length] = 0;
    size_t own = strlen(root);
    if (strncmp(path, root, own)) return;
    pthread_mutex_lock(&one_at_a_time);
    if (S_ISDIR(is.st_mode) && !path[own]) note_names(root, disk);
    if (S_ISREG(is.st_mode) && path[own] == '/' && !strchr(path + own + 1, '/') && !strchr(path + own, ' ')) copy(fd, disk, path + own + 1);
    pthread_mutex_unlock(&one_at_a_time);
}

#define SYNC(name)                                                    \
    int name(int fd) {                                                \
        static int (*real)(int);                                      \
        if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, #name);      \
        int done = real(fd);                                          \
        if (!done) synced(fd);                                        \
        return done;                                                  \
    }
SYNC(fsync)
SYNC(fdatasync)
