/*
 * The HLS watchers of the benchmarks: many players that read a playlist again and again and fetch its newest
 * segment each time, each over a connection of its own that is kept.
 *
 * Owns: connecting, requests and their pace, reading playlists as far as the next segment's path, discarding
 * segments with MSG_TRUNC (the kernel drops the bytes without copying them, so that the load costs as little as
 * it can), counting. Must not know which server it talks to.
 *
 * A watcher's turn comes once in --period seconds, and the turns of all are spread evenly over it, as players
 * that came at any time are. One whose answer is late leaves out what he has missed.
 *
 * It is driven by lines on standard input and answers each with one line of JSON on standard output:
 *   go         turns begin
 *   stop       no turn begins any more; the answer comes when the last one is over
 *   snapshot   the counters now
 *   mark       the same, and all counters count from here on
 *   quit       the same, and the end. End of input ends it as well.
 * Standard output carries nothing else. Exit status 2: wrong arguments.
 */
#include "load.h"

#define BUFFER_BYTES 16384 /* an answer's head and a whole playlist */
#define SEGMENT_HEAD_BYTES 2048
#define PATH_BYTES 512
#define TICK_MS 2

enum state { CLOSED, CONNECTING, IDLE, HEAD, BODY };

struct watcher {
    int fd;
    uint8_t state, is_segment;
    unsigned filled;
    uint64_t left;    /* of the body */
    uint64_t due_ns;  /* the next turn */
    uint64_t asked_ns;
    char path[PATH_BYTES];
    char buffer[BUFFER_BYTES + 1];
};

static struct {
    const char *path;
    int port, no_segments;
    size_t watchers;
    double period;
} options = {.path = "/live.m3u8", .watchers = 1, .period = 4.0};

static struct watcher *watchers;
static int going, stopping;
static size_t busy;
static uint64_t period_ns;
static struct {
    uint64_t since_ns, playlists, segments, bytes, missed, reconnects, bad_answers;
    uint64_t longest_playlist_ns, longest_segment_ns;
} counters;

static void report(void) {
    printf("{\"now_ns\": %llu, \"since_ns\": %llu, \"busy\": %zu, \"playlists\": %llu, \"segments\": %llu, "
           "\"bytes\": %llu, \"missed\": %llu, \"reconnects\": %llu, \"bad_answers\": %llu, "
           "\"first_bad_answer\": \"%s\", \"longest_playlist_ms\": %.3f, \"longest_segment_ms\": %.3f}\n",
           (unsigned long long)now_ns(), (unsigned long long)counters.since_ns, busy,
           (unsigned long long)counters.playlists, (unsigned long long)counters.segments,
           (unsigned long long)counters.bytes, (unsigned long long)counters.missed,
           (unsigned long long)counters.reconnects, (unsigned long long)counters.bad_answers, first_bad_answer,
           (double)counters.longest_playlist_ns / 1e6, (double)counters.longest_segment_ns / 1e6);
    fflush(stdout);
}

/* ---- one watcher ---- */

static void set_busy(struct watcher *watcher, uint8_t state) {
    int was = watcher->state == HEAD || watcher->state == BODY || watcher->state == CONNECTING;
    int is = state == HEAD || state == BODY || state == CONNECTING;
    watcher->state = state;
    busy = busy + (size_t)is - (size_t)was;
    if (stopping && busy == 0) {
        stopping = 0;
        report();
    }
}

static void drop(struct watcher *watcher) {
    close(watcher->fd);
    watcher->fd = -1;
    counters.reconnects++;
    set_busy(watcher, CLOSED);
}

static void bad(struct watcher *watcher) {
    if (counters.bad_answers++ == 0)
        note_bad_answer(watcher->buffer);
    drop(watcher);
}

static void connect_watcher(struct watcher *watcher) {
    watcher->fd = open_socket();
    if (!begin_connect(watcher->fd, options.port, watcher))
        fail("connect");
    set_busy(watcher, CONNECTING);
}

static void ask(struct watcher *watcher, int is_segment) {
    char request[PATH_BYTES + 256];
    /* A User-Agent each: servers tell players behind one address apart by it. */
    int length = snprintf(request, sizeof request,
                          "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: rawstream-bench/%zu\r\n\r\n",
                          is_segment ? watcher->path : options.path, options.port,
                          (size_t)(watcher - watchers));
    watcher->is_segment = (uint8_t)is_segment;
    watcher->filled = 0;
    watcher->asked_ns = now_ns();
    if (send(watcher->fd, request, (size_t)length, MSG_NOSIGNAL) != length)
        drop(watcher);
    else
        set_busy(watcher, HEAD);
}

static void begin_turn(struct watcher *watcher) {
    if (watcher->state == CLOSED)
        connect_watcher(watcher);
    else if (watcher->state == IDLE)
        ask(watcher, 0);
    else
        counters.missed++;
}

/* The last line of a playlist that is no tag is the path of its newest segment. */
static int take_playlist(struct watcher *watcher, char *body) {
    char *found = NULL;
    watcher->buffer[watcher->filled] = '\0';
    for (char *line = body; line != NULL && *line != '\0';) {
        if (*line == '/')
            found = line;
        line = strchr(line, '\n');
        line = line != NULL ? line + 1 : NULL;
    }
    size_t length = found != NULL ? strcspn(found, "\r\n") : 0;
    if (length == 0 || length >= PATH_BYTES)
        return 0;
    memcpy(watcher->path, found, length);
    watcher->path[length] = '\0';
    return 1;
}

static void finished(struct watcher *watcher, char *body) {
    uint64_t took = now_ns() - watcher->asked_ns;
    uint64_t *longest = watcher->is_segment ? &counters.longest_segment_ns : &counters.longest_playlist_ns;
    if (took > *longest)
        *longest = took;
    if (watcher->is_segment) {
        counters.segments++;
        set_busy(watcher, IDLE);
    } else if (!take_playlist(watcher, body)) {
        bad(watcher);
    } else {
        counters.playlists++;
        if (options.no_segments)
            set_busy(watcher, IDLE);
        else
            ask(watcher, 1);
    }
}

static void read_head(struct watcher *watcher) {
    unsigned limit = watcher->is_segment ? SEGMENT_HEAD_BYTES : BUFFER_BYTES;
    ssize_t got = recv(watcher->fd, watcher->buffer + watcher->filled, limit - watcher->filled, 0);
    if (got <= 0) {
        if (got == 0 || (errno != EAGAIN && errno != EINTR))
            drop(watcher);
        return;
    }
    watcher->filled += (unsigned)got;
    watcher->buffer[watcher->filled] = '\0';
    char *end = memmem(watcher->buffer, watcher->filled, "\r\n\r\n", 4);
    if (end == NULL) {
        if (watcher->filled == limit)
            bad(watcher);
        return;
    }
    char *length = strcasestr(watcher->buffer, "\r\ncontent-length:");
    if (strncmp(watcher->buffer, "HTTP/1.1 200", 12) != 0 || length == NULL || length > end) {
        bad(watcher);
        return;
    }
    uint64_t body = strtoull(length + 17, NULL, 10);
    uint64_t here = watcher->filled - (uint64_t)(end + 4 - watcher->buffer);
    if (!watcher->is_segment) {
        if (here < body) {
            if (watcher->filled == limit)
                bad(watcher);
            return; /* a playlist is read as a whole */
        }
        counters.bytes += here;
        finished(watcher, end + 4);
        return;
    }
    counters.bytes += here;
    watcher->left = body - here;
    set_busy(watcher, BODY);
    if (watcher->left == 0)
        finished(watcher, NULL);
}

static void read_body(struct watcher *watcher) {
    size_t limit = watcher->left < DISCARD_BYTES ? (size_t)watcher->left : DISCARD_BYTES;
    ssize_t got = recv(watcher->fd, NULL, limit, MSG_TRUNC);
    if (got <= 0) {
        if (got == 0 || (errno != EAGAIN && errno != EINTR))
            drop(watcher);
        return;
    }
    counters.bytes += (uint64_t)got;
    watcher->left -= (uint64_t)got;
    if (watcher->left == 0)
        finished(watcher, NULL);
}

static void handle(struct watcher *watcher, uint32_t events) {
    if (watcher->state == CONNECTING) {
        if (!has_connected(watcher->fd) || (events & EPOLLHUP)) {
            drop(watcher);
            return;
        }
        wait_for(watcher->fd, EPOLLIN, watcher);
        ask(watcher, 0);
    } else if (watcher->state == HEAD) {
        read_head(watcher);
    } else if (watcher->state == BODY) {
        read_body(watcher);
    } else if (watcher->state == IDLE) {
        drop(watcher); /* nothing was asked: the server has closed it */
    }
}

/* ---- all of them ---- */

static void begin_turns(uint64_t now) {
    for (size_t i = 0; i < options.watchers; i++) {
        struct watcher *watcher = &watchers[i];
        if (watcher->due_ns > now)
            continue;
        begin_turn(watcher);
        watcher->due_ns += period_ns * (1 + (now - watcher->due_ns) / period_ns);
    }
}

/* Returns 0 when the program is to end. */
static int read_command(void) {
    char line[256];
    if (!read_line(line, sizeof line) || strncmp(line, "quit", 4) == 0)
        return 0;
    uint64_t now = now_ns();
    if (strncmp(line, "stop", 4) == 0) {
        going = 0;
        stopping = 1;
        if (busy == 0) {
            stopping = 0;
            report();
        }
        return 1;
    }
    if (strncmp(line, "go", 2) == 0) {
        going = 1;
        for (size_t i = 0; i < options.watchers; i++)
            watchers[i].due_ns = now + period_ns * i / options.watchers;
    }
    report();
    if (strncmp(line, "mark", 4) == 0) {
        memset(&counters, 0, sizeof counters);
        counters.since_ns = now;
    }
    return 1;
}

static void parse(int argc, char **argv) {
    static const struct option names[] = {
        {"port", required_argument, NULL, 'p'},     {"path", required_argument, NULL, 'u'},
        {"watchers", required_argument, NULL, 'n'}, {"period", required_argument, NULL, 't'},
        {"no-segments", no_argument, NULL, 's'},    {NULL, 0, NULL, 0}};
    int option;
    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (option) {
        case 'p': options.port = atoi(optarg); break;
        case 'u': options.path = optarg; break;
        case 'n': options.watchers = strtoul(optarg, NULL, 10); break;
        case 't': options.period = atof(optarg); break;
        case 's': options.no_segments = 1; break;
        default: exit(2);
        }
    }
    if (options.port <= 0 || options.watchers == 0 || options.period <= 0 || optind != argc ||
        strlen(options.path) >= PATH_BYTES) {
        fprintf(stderr, "load_hls: --port is needed, --watchers and --period are above 0\n");
        exit(2);
    }
    period_ns = (uint64_t)(options.period * 1e9);
}

int main(int argc, char **argv) {
    struct epoll_event events[1024];
    parse(argc, argv);
    begin_loop();
    if ((watchers = calloc(options.watchers, sizeof *watchers)) == NULL)
        fail("calloc");
    for (int running = 1; running;) {
        if (going)
            begin_turns(now_ns());
        int count = epoll_wait(epoll_fd, events, 1024, going ? TICK_MS : -1);
        if (count < 0 && errno != EINTR)
            fail("epoll_wait");
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == NULL)
                running = read_command();
            else
                handle(events[i].data.ptr, events[i].events);
        }
    }
    report();
    return 0;
}
