/*
 * The baseline in C: the least a server can do that fans one stream out to many HTTP clients.
 *
 * One thread, one edge-triggered epoll loop. Reads the source over HTTP/1.1 (body until the connection closes),
 * gathers chunks of a given size, and send()s each to every client; a client whose socket is full keeps its place in
 * a ring of chunks and goes on when it is writable; one that leaves the ring jumps to the newest chunk. A new client
 * starts at the next chunk, wherever that is in the picture. No parsing of the stream, no limits, no accounts.
 *
 * Usage: baseline_epoll SOURCE_PORT SOURCE_PATH CHUNK_BYTES SECONDS
 * Prints "ready PORT" once it listens, ends by itself after SECONDS or when the source ends.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
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

#define RING_CHUNKS 512u /* 33 MB of 64 KiB chunks: the room rawstream's ring has */
#define REQUEST_LIMIT 4096u
#define CLIENTS 20000u

struct client {
    int fd;
    unsigned slot;        /* its place in `clients` */
    int streaming, full;
    uint64_t chunk;       /* the next chunk to send */
    size_t offset;        /* bytes of it that are sent */
    char tail[3];         /* the last bytes of an unfinished request */
};

static const char ANSWER[] = "HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nCache-Control: no-store\r\n"
                             "Connection: close\r\n\r\n";

static struct client *clients[CLIENTS];
static unsigned client_count;
static uint8_t *ring;
static uint64_t ring_end; /* number of the chunk being filled: chunks below it are whole */
static size_t chunk_bytes, filled;
static int epoll_fd;

static void fail(const char *what) {
    fprintf(stderr, "baseline_epoll: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now_seconds(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static uint8_t *chunk_at(uint64_t number) { return ring + (number % RING_CHUNKS) * chunk_bytes; }

static void drop(struct client *client) {
    clients[client->slot] = clients[--client_count];
    clients[client->slot]->slot = client->slot;
    close(client->fd);
    free(client);
}

/* Send until the client is at the end of the ring or its socket is full. Returns 0 when it is gone. */
static int pump(struct client *client) {
    while (client->chunk < ring_end) {
        if (client->chunk + RING_CHUNKS <= ring_end) {
            client->chunk = ring_end - 1;
            client->offset = 0;
        }
        ssize_t sent = send(client->fd, chunk_at(client->chunk) + client->offset,
                            chunk_bytes - client->offset, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0) {
            if (errno == EAGAIN) {
                client->full = 1;
                return 1;
            }
            if (errno == EINTR)
                continue;
            return 0;
        }
        client->offset += (size_t)sent;
        if (client->offset == chunk_bytes) {
            client->chunk++;
            client->offset = 0;
        }
    }
    return 1;
}

/* Only the end of the head is looked for: the last three bytes of what came before are all it takes. */
static int read_request(struct client *client) {
    static char request[REQUEST_LIMIT];
    for (;;) {
        memcpy(request, client->tail, sizeof client->tail);
        ssize_t got = recv(client->fd, request + sizeof client->tail, sizeof request - sizeof client->tail,
                           MSG_DONTWAIT);
        if (got < 0)
            return errno == EAGAIN || errno == EINTR;
        if (got == 0 || client->streaming)
            return 0;
        size_t length = sizeof client->tail + (size_t)got;
        memcpy(client->tail, request + length - sizeof client->tail, sizeof client->tail);
        if (memmem(request, length, "\r\n\r\n", 4) != NULL) {
            client->streaming = 1;
            client->chunk = ring_end;
            return send(client->fd, ANSWER, sizeof ANSWER - 1, MSG_NOSIGNAL) == (ssize_t)sizeof ANSWER - 1;
        }
    }
}

static void accept_clients(int listener) {
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct client *client = client_count < CLIENTS ? calloc(1, sizeof *client) : NULL;
        if (client == NULL) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        client->fd = fd;
        client->slot = client_count;
        clients[client_count++] = client;
        /* Edge-triggered from the start: a full socket costs no epoll_ctl. */
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = client};
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
            fail("epoll_ctl");
    }
}

static void fan_out(void) {
    for (unsigned i = client_count; i-- > 0;) { /* backwards: drop() moves the last one into the gap */
        struct client *client = clients[i];
        if (client->streaming && !client->full && !pump(client))
            drop(client);
    }
}

/* Returns 0 at the end of the source. */
static int read_source(int source) {
    for (;;) {
        ssize_t got = recv(source, chunk_at(ring_end) + filled, chunk_bytes - filled, MSG_DONTWAIT);
        if (got < 0)
            return errno == EAGAIN || errno == EINTR;
        if (got == 0)
            return 0;
        filled += (size_t)got;
        if (filled == chunk_bytes) {
            filled = 0;
            ring_end++;
            fan_out();
        }
    }
}

static int open_source(int port, const char *path) {
    char text[2048], *end = NULL;
    size_t length = 0;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int source = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (source < 0 || connect(source, (struct sockaddr *)&address, sizeof address) < 0)
        fail("source");
    int wanted = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n", path, port);
    if (send(source, text, (size_t)wanted, MSG_NOSIGNAL) != wanted)
        fail("source request");
    while (length < sizeof text - 1) { /* byte by byte: nothing of the body may be taken */
        if (recv(source, text + length, 1, 0) != 1)
            fail("source head");
        text[++length] = '\0';
        if ((end = strstr(text, "\r\n\r\n")) != NULL)
            break;
    }
    if (end == NULL || strncmp(text, "HTTP/1.1 200", 12) != 0)
        fail("source answer");
    return source;
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "usage: baseline_epoll SOURCE_PORT SOURCE_PATH CHUNK_BYTES SECONDS\n");
        return 2;
    }
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    chunk_bytes = strtoul(argv[3], NULL, 10);
    double end = now_seconds() + atof(argv[4]);
    if (chunk_bytes == 0 || (ring = malloc(RING_CHUNKS * chunk_bytes)) == NULL)
        fail("ring");
    memset(ring, 0, RING_CHUNKS * chunk_bytes); /* resident from the start: memory readings see viewers only */
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct sockaddr_in address = {.sin_family = AF_INET};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (epoll_fd < 0 || listener < 0 || bind(listener, (struct sockaddr *)&address, size) < 0 ||
        listen(listener, 4096) < 0 || getsockname(listener, (struct sockaddr *)&address, &size) < 0)
        fail("listen");
    int source = open_source(atoi(argv[1]), argv[2]);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &listener};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event);
    event.data.ptr = &source;
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, source, &event);
    printf("ready %d\n", ntohs(address.sin_port));
    fflush(stdout);

    struct epoll_event events[1024];
    while (now_seconds() < end) {
        int source_is_ready = 0;
        int count = epoll_wait(epoll_fd, events, 1024, 100);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == &listener) {
                accept_clients(listener);
            } else if (events[i].data.ptr == &source) {
                source_is_ready = 1; /* last: its fan-out may free clients that later events name */
            } else {
                struct client *client = events[i].data.ptr;
                int alive = !(events[i].events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP));
                if (alive && (events[i].events & EPOLLIN))
                    alive = read_request(client);
                if (alive && client->streaming && (events[i].events & EPOLLOUT)) {
                    client->full = 0;
                    alive = pump(client);
                }
                if (!alive)
                    drop(client); /* one event per client and batch: nothing names it any more */
            }
        }
        if (source_is_ready && !read_source(source))
            break;
    }
    return 0;
}
