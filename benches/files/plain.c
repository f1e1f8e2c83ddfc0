/* The least that sends and takes a file, for a comparison: blocking calls, and no name, length or error of the other side.

   plain gives PORT FILE            accepts, again and again; sendfile(2) of the file to each, and closes
   plain takes PORT FILE            accepts, again and again; writes what comes, says one byte when it has ended
   plain takes+digests PORT FILE    the same, with the SHA-256 of it all; takes+digests+sync: with fdatasync(2), too
   plain get PORT FILE              connects, and writes what comes
   plain get+digests PORT FILE      the same, with the SHA-256 of it all
   plain gives+digests PORT FILE    like gives, with read(2) and write(2) and the SHA-256 of it all
   plain put PORT FILE              connects, sends with sendfile(2), and waits for that byte
   plain put+digests PORT FILE      the same with read(2) and write(2), and the SHA-256 of it all
   plain f3-get PORT FILE NAME      downloads from `onepoll serve file://…`, and makes no digest of it
   plain f3-put PORT FILE NAME      uploads to it, and tells no digest */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#ifndef NO_DIGEST
#include <openssl/evp.h>
#endif

static char buffer[256 << 10];
static const char *path;
static int digests, syncs;

static long must(long result, const char *what) {
    if (result < 0) {
        fprintf(stderr, "%s: %s\n", what, strerror(errno));
        exit(1);
    }
    return result;
}

static void wrong(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static struct sockaddr_in address(const char *port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return to;
}

static int dial(const char *port) {
    struct sockaddr_in to = address(port);
    int link = must(socket(AF_INET, SOCK_STREAM, 0), "socket");
    must(connect(link, (struct sockaddr *)&to, sizeof to), "connect");
    return link;
}

static int listens(const char *port) {
    struct sockaddr_in at = address(port);
    int on = 1, listener = must(socket(AF_INET, SOCK_STREAM, 0), "socket");
    must(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), "setsockopt");
    must(bind(listener, (struct sockaddr *)&at, sizeof at), "bind");
    must(listen(listener, 16), "listen");
    return listener;
}

static void write_all(int to, const char *bytes, size_t length) {
    while (length) {
        size_t n = must(write(to, bytes, length), "write");
        bytes += n;
        length -= n;
    }
}

static void copy(int from, int to) {
#ifndef NO_DIGEST
    EVP_MD_CTX *sha256 = EVP_MD_CTX_new();
    EVP_DigestInit_ex(sha256, EVP_sha256(), NULL);
#endif
    for (size_t n; (n = must(read(from, buffer, sizeof buffer), "read"));) {
#ifndef NO_DIGEST
        if (digests) EVP_DigestUpdate(sha256, buffer, n);
#endif
        write_all(to, buffer, n);
    }
#ifndef NO_DIGEST
    unsigned char sum[EVP_MAX_MD_SIZE];
    EVP_DigestFinal_ex(sha256, sum, NULL);
    for (int n = 0; digests && n < 32; n++) printf("%02x", sum[n]);
    if (digests) puts(""), fflush(stdout);
    EVP_MD_CTX_free(sha256);
#endif
}

static void give(int link) {
    int file = must(open(path, O_RDONLY), path);
    if (digests) {
        copy(file, link);
        close(file);
        return;
    }
    struct stat found;
    must(fstat(file, &found), "fstat");
    for (off_t at = 0; at < found.st_size;)
        if (!must(sendfile(link, file, &at, found.st_size - at), "sendfile")) wrong("the file became shorter");
    close(file);
}

static void take(int link) {
    int file = must(open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644), path);
    copy(link, file);
    if (syncs) must(fdatasync(file), "fdatasync");
    must(close(file), "close");
}

static void send_header(int link, const char *text) {
    uint32_t length = strlen(text);
    write_all(link, (char *)&length, sizeof length);
    write_all(link, text, length);
}

/* What was read and not used of it. */
static size_t begin, end;

static const char *some(int link, size_t most, size_t *n) {
    if (begin == end) {
        begin = 0;
        end = must(read(link, buffer, sizeof buffer), "read");
        if (!end) wrong("the server ended the connection");
    }
    *n = end - begin < most ? end - begin : most;
    begin += *n;
    return buffer + begin - *n;
}

static void exactly(int link, char *into, size_t length) {
    for (size_t n; length; length -= n, into += n) {
        const char *from = some(link, length, &n);
        memcpy(into, from, n);
    }
}

/* The next header; how many bytes follow that belong to it. */
static size_t header(int link, char *text, size_t room) {
    uint32_t length;
    exactly(link, (char *)&length, sizeof length);
    if (length >= room) wrong("the header is long");
    exactly(link, text, length);
    text[length] = 0;
    const char *size = strstr(text, "\"data_size\":");
    if (!size && !strstr(text, "\"ok\":true")) wrong(text);
    return size ? strtoull(size + 12, NULL, 10) : 0;
}

static void f3_get(int link, const char *name) {
    char text[4096];
    snprintf(text, sizeof text, "{\"onepoll\":\"download\",\"file_name\":\"%s\"}", name);
    send_header(link, text);
    header(link, text, sizeof text);
    int file = must(open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644), path);
    for (size_t left; (left = header(link, text, sizeof text));)
        for (size_t n; left; left -= n) {
            const char *bytes = some(link, left, &n);
            write_all(file, bytes, n);
        }
    must(close(file), "close");
}

static void f3_put(int link, const char *name) {
    char text[4096];
    struct stat found;
    must(stat(path, &found), path);
    snprintf(text, sizeof text, "{\"onepoll\":\"upload\",\"file_name\":\"%s\",\"file_size\":%lld}", name,
             (long long)found.st_size);
    send_header(link, text);
    give(link);
    header(link, text, sizeof text);
}

int main(int count, char **words) {
    if (count < 4) wrong("plain WHAT PORT FILE [NAME]");
    const char *what = words[1], *port = words[2], *name = words[count - 1];
    path = words[3];
    digests = strstr(what, "+digests") != NULL;
#ifdef NO_DIGEST
    if (digests) wrong("this was compiled without OpenSSL");
#endif
    syncs = strstr(what, "+sync") != NULL;
    signal(SIGPIPE, SIG_IGN);
    if (!strncmp(what, "gives", 5) || !strncmp(what, "takes", 5)) {
        for (int listener = listens(port);;) {
            int link = must(accept(listener, NULL, NULL), "accept");
            if (what[0] == 'g') {
                give(link);
            } else {
                take(link);
                write_all(link, "", 1);
            }
            close(link);
        }
    }
    int link = dial(port);
    if (!strncmp(what, "get", 3)) {
        take(link);
    } else if (!strncmp(what, "put", 3)) {
        give(link);
        must(shutdown(link, SHUT_WR), "shutdown");
        if (must(read(link, buffer, 1), "read") != 1) wrong("the server did not take all");
    } else if (!strcmp(what, "f3-get")) {
        f3_get(link, name);
    } else if (!strcmp(what, "f3-put")) {
        f3_put(link, name);
    } else {
        wrong("it is none of these");
    }
    return 0;
}
