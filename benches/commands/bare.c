/* What a command costs without a server around it, or with the least that one can be; and a client that costs little.

   bare spawn COUNT THREADS LINE       posix_spawn(3) of /bin/sh in a loop, and waitpid(2)
   bare pipes COUNT THREADS LINE       the same with what a server needs: a null device, two pipes, read to their ends
   bare serve PORT THREADS             accept, read a line, as `pipes`, write what comes, close
   bare ask PORT COUNT THREADS [LINE]  connects, sends a line, and reads to the end

   Those that count say how many seconds it took. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char *environment[] = {"PATH=/usr/bin:/bin", NULL};
static posix_spawnattr_t attributes;
static int count, port, listener;
static char *line;

/* What returns the number of its error is given negated. */
static int must(int result, const char *what) {
    if (result < 0) {
        fprintf(stderr, "%s: %s\n", what, strerror(result == -1 ? errno : -result));
        exit(1);
    }
    return result;
}

static void spawn_alone(void) {
    char *arguments[] = {"sh", "-c", line, NULL};
    pid_t pid;
    must(-posix_spawn(&pid, "/bin/sh", NULL, NULL, arguments, environment), "posix_spawn");
    must(waitpid(pid, NULL, 0), "waitpid");
}

/* A session of its own and default dispositions, as a server gives them to what it runs. */
static void spawn_with_pipes(char *command, int peer) {
    char *arguments[] = {"sh", "-c", command, NULL}, buffer[1 << 16];
    int out[2], err[2], null = must(open("/dev/null", O_RDONLY | O_CLOEXEC), "open");
    must(pipe2(out, O_CLOEXEC), "pipe2");
    must(pipe2(err, O_CLOEXEC), "pipe2");
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, null, 0);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    posix_spawn_file_actions_adddup2(&actions, err[1], 2);
    pid_t pid;
    must(-posix_spawn(&pid, "/bin/sh", &actions, &attributes, arguments, environment), "posix_spawn");
    posix_spawn_file_actions_destroy(&actions);
    close(null);
    close(out[1]);
    close(err[1]);
    struct pollfd pipes[2] = {{out[0], POLLIN, 0}, {err[0], POLLIN, 0}};
    for (int open = 2; open;) {
        must(poll(pipes, 2, -1), "poll");
        for (int i = 0; i < 2; i++) {
            if (!pipes[i].revents)
                continue;
            ssize_t n = read(pipes[i].fd, buffer, sizeof buffer);
            if (n > 0 && peer >= 0)
                send(peer, buffer, n, MSG_NOSIGNAL);
            if (n <= 0) {
                close(pipes[i].fd);
                pipes[i].fd = -1;
                open--;
            }
        }
    }
    must(waitpid(pid, NULL, 0), "waitpid");
}

static void *spawns(void *unused) {
    for (int i = 0; i < count; i++)
        spawn_alone();
    return unused;
}

static void *pipes(void *unused) {
    for (int i = 0; i < count; i++)
        spawn_with_pipes(line, -1);
    return unused;
}

static void *serves(void *unused) {
    for (;;) {
        char command[4096];
        int peer = must(accept4(listener, NULL, NULL, SOCK_CLOEXEC), "accept4");
        ssize_t n = read(peer, command, sizeof command - 1);
        if (n > 0) {
            command[n - 1] = 0;
            spawn_with_pipes(command, peer);
        }
        close(peer);
    }
    return unused;
}

static struct sockaddr_in address(void) {
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(port)};
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return here;
}

static void *asks(void *unused) {
    char buffer[1 << 16];
    struct sockaddr_in there = address();
    for (int i = 0; i < count; i++) {
        int peer = must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
        must(connect(peer, (struct sockaddr *)&there, sizeof there), "connect");
        if (line) {
            must(dprintf(peer, "%s\n", line), "write");
            must(shutdown(peer, SHUT_WR), "shutdown");
        }
        while (must(read(peer, buffer, sizeof buffer), "read") > 0)
            ;
        close(peer);
    }
    return unused;
}

static void in_threads(int threads, void *(*work)(void *)) {
    pthread_t all[64];
    count /= threads;
    struct timespec began, ended;
    clock_gettime(CLOCK_MONOTONIC, &began);
    for (int i = 0; i < threads; i++)
        must(-pthread_create(&all[i], NULL, work, NULL), "pthread_create");
    for (int i = 0; i < threads; i++)
        pthread_join(all[i], NULL);
    clock_gettime(CLOCK_MONOTONIC, &ended);
    printf("%.6f\n", ended.tv_sec - began.tv_sec + (ended.tv_nsec - began.tv_nsec) / 1e9);
}

int main(int argc, char **argv) {
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID);
    const char *what = argc > 3 ? argv[1] : "";
    if (!strcmp(what, "serve")) {
        port = atoi(argv[2]);
        int on = 1;
        struct sockaddr_in here = address();
        listener = must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
        must(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), "setsockopt");
        must(bind(listener, (struct sockaddr *)&here, sizeof here), "bind");
        must(listen(listener, 128), "listen");
        in_threads(atoi(argv[3]), serves);
    } else if (!strcmp(what, "ask") && argc > 4) {
        port = atoi(argv[2]);
        count = atoi(argv[3]);
        line = argv[5];
        in_threads(atoi(argv[4]), asks);
    } else if (argc > 4) {
        count = atoi(argv[2]);
        line = argv[4];
        in_threads(atoi(argv[3]), strcmp(what, "spawn") ? pipes : spawns);
    } else {
        fputs("spawn, pipes, serve or ask\n", stderr);
        return 2;
    }
}
