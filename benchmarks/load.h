/*
 * What both loads (load.c, load_hls.c) do in the same way: an epoll loop over many non-blocking connections to
 * one server on this machine, driven by lines on standard input.
 *
 * Owns: the clock, the loop's set-up, sockets, the words of the first bad answer. Must not know what is asked for.
 * For one program at a time: each includes it once, and uses all of it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define DISCARD_BYTES (4 << 20)

static int epoll_fd;
static char first_bad_answer[96];

static uint64_t now_ns(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000ull + (uint64_t)at.tv_nsec;
}

static void fail(const char *what) {
    fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(errno));
    exit(1);
}

/* As many descriptors as may be, and an epoll that tells of standard input with a NULL for data. */
static void begin_loop(void) {
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    if ((epoll_fd = epoll_create1(EPOLL_CLOEXEC)) < 0)
        fail("epoll_create1");
    struct epoll_event input = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &input) < 0)
        fail("standard input");
}

/* A line from standard input; returns 0 when that is the last there is. */
static int read_line(char *line, size_t size) {
    ssize_t got = read(STDIN_FILENO, line, size - 1);
    if (got <= 0)
        return 0;
    line[got] = '\0';
    return 1;
}

static int open_socket(void) {
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        fail("socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

/* Returns 0 when it is refused at once; else the connection's owner is told when it may send. */
static int begin_connect(int fd, int port, void *owner) {
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&server, sizeof server) < 0 && errno != EINPROGRESS)
        return 0;
    struct epoll_event event = {.events = EPOLLOUT, .data.ptr = owner};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
        fail("epoll_ctl");
    return 1;
}

static int has_connected(int fd) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    return error == 0;
}

static void wait_for(int fd, uint32_t events, void *owner) {
    struct epoll_event event = {.events = events, .data.ptr = owner};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, fd, &event);
}

/* Keep an answer's first line, as it may stand in JSON. */
static void note_bad_answer(const char *head) {
    for (size_t i = 0; i + 1 < sizeof first_bad_answer && head[i] >= ' '; i++)
        first_bad_answer[i] = head[i] == '"' || head[i] == '\\' ? '\'' : head[i];
}
