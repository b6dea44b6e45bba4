/*
 * The viewers of the benchmarks: many HTTP connections that read a stream and throw it away.
 *
 * Owns: connecting, the request, reading the answer's head, discarding the body with MSG_TRUNC (the kernel
 * drops the bytes without copying them, so that the load costs as little as it can), and, for a few sampled
 * viewers, reading for real: the stamps that source.py puts before each piece are timed, the body may be kept.
 * Must not know which server it talks to.
 *
 * Kinds of viewers: healthy (discard as fast as it comes), sampled (healthy, but reading for real), slow (a
 * limited number of bytes per second), stalled (asks, then never reads). One more sampled connection may go
 * directly to the source: the baseline of every delay.
 *
 * It is driven by lines on standard input and answers each with one line of JSON on standard output:
 *   snapshot   the counters now
 *   mark       the same, and "since" counts from here on
 *   quit       the same, and the end. End of input and --duration end it as well.
 * Standard output carries nothing else. Exit status 2: wrong arguments.
 */
#include "load.h"

#define PACKET 188
#define STAMP_PID 0x1FF0          /* as in source.py */
#define STAMP_MAGIC "rawstamp"    /* as in source.py */
#define PIECE_PACKETS 87          /* as in source.py: the stamp and what follows it */
#define HEAD_LIMIT 8192
#define SAMPLE_BYTES (256 << 10)
#define PORTS_PER_ADDRESS 20000   /* below the 28,232 ephemeral ports that one address pair has */
#define TICK_NS 50000000ull       /* how often slow viewers read and connections are started */
#define DIRECT_ID 0xFFFFFFFFu

enum kind { HEALTHY, SLOW, STALLED };
enum state { CONNECTING, HEAD, BODY, GONE };
enum framing { RAW, SIZE, SIZE_END, DATA, DATA_END, LAST };

/* What only a viewer that reads for real needs. */
struct sample {
    uint32_t id;
    enum framing framing;
    uint64_t chunk_left;
    uint8_t packet[PACKET];
    unsigned filled;
    unsigned packets_left;
    uint64_t sequence, sent_ns;
    uint64_t resyncs;
    FILE *dump;
};

struct viewer {
    int fd;
    uint8_t kind, state;
    unsigned head_length;
    char *head;
    struct sample *sample;
    uint64_t bytes, marked_bytes;
    uint64_t started_ns, connected_ns, first_byte_ns;
};

/* One received piece, as written to the --stamps file: native byte order, 32 bytes. */
struct record {
    uint32_t viewer, reserved;
    uint64_t sequence, sent_ns, received_ns;
};

static struct {
    const char *path, *stamps, *dump;
    int port, direct_port;
    const char *direct_path;
    size_t healthy, slow, stalled, samples;
    uint64_t slow_rate, duration_ns;
    double connect_rate;
    int stalled_rcvbuf;
} options = {.path = "/", .direct_path = "/channel.ts", .healthy = 1, .slow_rate = 1000,
             .duration_ns = 60000000000ull, .connect_rate = 500, .stalled_rcvbuf = 4096};

static struct viewer *viewers;
static size_t viewer_count, started_count;
static FILE *stamps_file;
static uint64_t failed_connects, bad_answers, disconnected, stalled_disconnected, slow_disconnected;
static uint64_t sample_resyncs, started_at_ns;
static char sample_buffer[SAMPLE_BYTES];

static int is_direct(const struct viewer *viewer) {
    return viewer->sample != NULL && viewer->sample->id == DIRECT_ID;
}

/* ---- sampled viewers ---- */

static void take_packet(struct sample *sample, uint64_t received_ns) {
    const uint8_t *packet = sample->packet;
    unsigned pid = ((packet[1] & 0x1Fu) << 8) | packet[2];
    if (pid == STAMP_PID && memcmp(packet + 4, STAMP_MAGIC, 8) == 0) {
        memcpy(&sample->sequence, packet + 12, 8);
        memcpy(&sample->sent_ns, packet + 20, 8);
        sample->packets_left = PIECE_PACKETS - 1;
        return;
    }
    /* A piece counts as received when its last packet is there, not when its stamp is. */
    if (sample->packets_left > 0 && --sample->packets_left == 0 && stamps_file != NULL) {
        struct record record = {.viewer = sample->id, .sequence = sample->sequence,
                                .sent_ns = sample->sent_ns, .received_ns = received_ns};
        fwrite(&record, sizeof record, 1, stamps_file);
    }
}

static void take_body(struct sample *sample, const uint8_t *data, size_t length, uint64_t received_ns) {
    if (sample->dump != NULL)
        fwrite(data, 1, length, sample->dump);
    while (length > 0) {
        size_t part = PACKET - sample->filled;
        if (part > length)
            part = length;
        memcpy(sample->packet + sample->filled, data, part);
        sample->filled += (unsigned)part;
        data += part;
        length -= part;
        if (sample->packet[0] != 0x47) {
            /* A server that starts anywhere cuts packets: look for the next sync byte. */
            uint8_t *sync = memchr(sample->packet, 0x47, sample->filled);
            unsigned skip = sync ? (unsigned)(sync - sample->packet) : sample->filled;
            memmove(sample->packet, sample->packet + skip, sample->filled - skip);
            sample->filled -= skip;
            sample->packets_left = 0;
            sample->resyncs++;
            sample_resyncs++;
        } else if (sample->filled == PACKET) {
            take_packet(sample, received_ns);
            sample->filled = 0;
        }
    }
}

/* Remove the chunked framing (RFC 9112 section 7.1) if there is one, and hand on the body. */
static void take_framed(struct sample *sample, const uint8_t *data, size_t length, uint64_t received_ns) {
    if (sample->framing == RAW) {
        take_body(sample, data, length, received_ns);
        return;
    }
    while (length > 0 && sample->framing != LAST) {
        uint8_t byte = *data;
        if (sample->framing == DATA) {
            size_t part = sample->chunk_left < length ? (size_t)sample->chunk_left : length;
            take_body(sample, data, part, received_ns);
            data += part;
            length -= part;
            sample->chunk_left -= part;
            if (sample->chunk_left == 0)
                sample->framing = DATA_END;
            continue;
        }
        data++;
        length--;
        if (sample->framing == SIZE) {
            if (byte >= '0' && byte <= '9')
                sample->chunk_left = sample->chunk_left * 16 + (byte - '0');
            else if ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'f')
                sample->chunk_left = sample->chunk_left * 16 + ((byte | 0x20) - 'a' + 10);
            else
                sample->framing = SIZE_END;
        } else if (sample->framing == SIZE_END && byte == '\n') {
            sample->framing = sample->chunk_left > 0 ? DATA : LAST;
        } else if (sample->framing == DATA_END && byte == '\n') {
            sample->framing = SIZE;
        }
    }
}

/* ---- one viewer ---- */

static void end_viewer(struct viewer *viewer) {
    if (viewer->state == GONE)
        return;
    close(viewer->fd);
    viewer->fd = -1;
    viewer->state = GONE;
    free(viewer->head);
    viewer->head = NULL;
    if (viewer->kind == STALLED)
        stalled_disconnected++;
    else if (viewer->kind == SLOW)
        slow_disconnected++;
    else
        disconnected++;
}

static void start_viewer(struct viewer *viewer, size_t index) {
    viewer->fd = open_socket();
    if (viewer->kind == STALLED)
        setsockopt(viewer->fd, SOL_SOCKET, SO_RCVBUF, &options.stalled_rcvbuf, sizeof(int));
    if (viewer_count > PORTS_PER_ADDRESS) {
        struct sockaddr_in own = {.sin_family = AF_INET};
        int one = 1;
        own.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + (uint32_t)(index / PORTS_PER_ADDRESS));
        setsockopt(viewer->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        if (bind(viewer->fd, (struct sockaddr *)&own, sizeof own) < 0)
            fail("bind");
    }
    viewer->started_ns = now_ns();
    viewer->state = CONNECTING;
    if (!begin_connect(viewer->fd, is_direct(viewer) ? options.direct_port : options.port, viewer)) {
        failed_connects++;
        end_viewer(viewer);
    }
}

static void send_request(struct viewer *viewer) {
    char request[2048];
    if (!has_connected(viewer->fd)) {
        failed_connects++;
        end_viewer(viewer);
        return;
    }
    viewer->connected_ns = now_ns();
    int length = snprintf(request, sizeof request,
                          "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: rawstream-bench\r\n\r\n",
                          is_direct(viewer) ? options.direct_path : options.path,
                          is_direct(viewer) ? options.direct_port : options.port);
    if (send(viewer->fd, request, (size_t)length, MSG_NOSIGNAL) != length) {
        failed_connects++;
        end_viewer(viewer);
        return;
    }
    viewer->state = HEAD;
    /* Stalled viewers wait for the end of the connection only; slow ones are read by the tick. */
    wait_for(viewer->fd, viewer->kind == STALLED ? EPOLLRDHUP : EPOLLIN, viewer);
}

static void first_body_bytes(struct viewer *viewer, uint64_t received_ns) {
    viewer->first_byte_ns = received_ns;
    viewer->state = BODY;
    if (viewer->kind == SLOW)
        wait_for(viewer->fd, EPOLLRDHUP, viewer);
}

static void read_head(struct viewer *viewer) {
    if (viewer->head == NULL && (viewer->head = malloc(HEAD_LIMIT + 1)) == NULL)
        fail("malloc");
    ssize_t got = recv(viewer->fd, viewer->head + viewer->head_length, HEAD_LIMIT - viewer->head_length, 0);
    if (got <= 0) {
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        end_viewer(viewer);
        return;
    }
    uint64_t received_ns = now_ns();
    viewer->head_length += (unsigned)got;
    viewer->head[viewer->head_length] = '\0';
    char *end = memmem(viewer->head, viewer->head_length, "\r\n\r\n", 4);
    if (end == NULL) {
        if (viewer->head_length == HEAD_LIMIT) {
            bad_answers++;
            end_viewer(viewer);
        }
        return;
    }
    end[2] = '\0';
    if (strncmp(viewer->head, "HTTP/1.", 7) != 0 || strncmp(viewer->head + 9, "200", 3) != 0) {
        if (bad_answers++ == 0)
            note_bad_answer(viewer->head);
        end_viewer(viewer);
        return;
    }
    size_t body = viewer->head_length - (size_t)(end + 4 - viewer->head);
    if (viewer->sample != NULL && strcasestr(viewer->head, "transfer-encoding: chunked") != NULL)
        viewer->sample->framing = SIZE;
    viewer->state = BODY;
    if (body > 0) {
        viewer->bytes += body;
        first_body_bytes(viewer, received_ns);
        if (viewer->sample != NULL)
            take_framed(viewer->sample, (uint8_t *)end + 4, body, received_ns);
    }
    free(viewer->head);
    viewer->head = NULL;
}

static void read_body(struct viewer *viewer, size_t limit) {
    ssize_t got = viewer->sample != NULL ? recv(viewer->fd, sample_buffer, sizeof sample_buffer, 0)
                                         : recv(viewer->fd, NULL, limit, MSG_TRUNC);
    if (got <= 0) {
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        end_viewer(viewer);
        return;
    }
    viewer->bytes += (uint64_t)got;
    if (viewer->first_byte_ns == 0 || viewer->sample != NULL) {
        uint64_t received_ns = now_ns();
        if (viewer->first_byte_ns == 0)
            first_body_bytes(viewer, received_ns);
        if (viewer->sample != NULL)
            take_framed(viewer->sample, (uint8_t *)sample_buffer, (size_t)got, received_ns);
    }
}

static void handle(struct viewer *viewer, uint32_t events) {
    if (viewer->state == CONNECTING)
        send_request(viewer);
    else if (viewer->kind == STALLED || !(events & EPOLLIN))
        end_viewer(viewer); /* nothing but the end was asked for */
    else if (viewer->state == HEAD)
        read_head(viewer);
    else if (viewer->state == BODY)
        read_body(viewer, DISCARD_BYTES);
}

/* ---- reports ---- */

static int by_value(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

static void print_milliseconds(const char *name, uint64_t *values, size_t count) {
    qsort(values, count, sizeof *values, by_value);
    printf(", \"%s\": {\"count\": %zu", name, count);
    if (count > 0)
        printf(", \"p50\": %.3f, \"p99\": %.3f, \"max\": %.3f", (double)values[count / 2] / 1e6,
               (double)values[(count - 1) * 99 / 100] / 1e6, (double)values[count - 1] / 1e6);
    printf("}");
}

static void report(int mark) {
    uint64_t *values = malloc((viewer_count + 1) * sizeof *values);
    uint64_t bytes = 0, since = 0, slow_bytes = 0;
    size_t streaming = 0, healthy = 0, count = 0;
    if (values == NULL)
        fail("malloc");
    for (size_t i = 0; i < started_count; i++) {
        struct viewer *viewer = &viewers[i];
        if (viewer->kind == SLOW)
            slow_bytes += viewer->bytes;
        if (viewer->kind != HEALTHY || is_direct(viewer))
            continue;
        healthy++;
        bytes += viewer->bytes;
        since += viewer->bytes - viewer->marked_bytes;
        streaming += viewer->state == BODY && viewer->first_byte_ns != 0;
    }
    printf("{\"now_ns\": %llu, \"started\": %zu, \"healthy\": %zu, \"streaming\": %zu, \"bytes\": %llu, "
           "\"slow_bytes\": %llu, \"failed_connects\": %llu, \"bad_answers\": %llu, \"first_bad_answer\": \"%s\", "
           "\"disconnected\": %llu, \"stalled_disconnected\": %llu, \"slow_disconnected\": %llu, "
           "\"sample_resyncs\": %llu",
           (unsigned long long)now_ns(), started_count, healthy, streaming, (unsigned long long)bytes,
           (unsigned long long)slow_bytes, (unsigned long long)failed_connects,
           (unsigned long long)bad_answers, first_bad_answer, (unsigned long long)disconnected,
           (unsigned long long)stalled_disconnected, (unsigned long long)slow_disconnected,
           (unsigned long long)sample_resyncs);
    for (size_t i = 0; i < started_count; i++)
        if (viewers[i].kind == HEALTHY && !is_direct(&viewers[i]))
            values[count++] = viewers[i].bytes - viewers[i].marked_bytes;
    qsort(values, count, sizeof *values, by_value);
    printf(", \"since\": {\"bytes\": %llu, \"min\": %llu, \"median\": %llu, \"max\": %llu}",
           (unsigned long long)since, (unsigned long long)(count ? values[0] : 0),
           (unsigned long long)(count ? values[count / 2] : 0),
           (unsigned long long)(count ? values[count - 1] : 0));
    count = 0;
    for (size_t i = 0; i < started_count; i++)
        if (viewers[i].connected_ns != 0)
            values[count++] = viewers[i].connected_ns - viewers[i].started_ns;
    print_milliseconds("connect_ms", values, count);
    count = 0;
    for (size_t i = 0; i < started_count; i++)
        if (viewers[i].first_byte_ns != 0 && viewers[i].kind == HEALTHY && !is_direct(&viewers[i]))
            values[count++] = viewers[i].first_byte_ns - viewers[i].started_ns;
    print_milliseconds("first_byte_ms", values, count);
    printf("}\n");
    fflush(stdout);
    if (stamps_file != NULL)
        fflush(stamps_file);
    for (size_t i = 0; i < started_count; i++) {
        if (mark)
            viewers[i].marked_bytes = viewers[i].bytes;
        if (viewers[i].sample != NULL && viewers[i].sample->dump != NULL)
            fflush(viewers[i].sample->dump);
    }
    free(values);
}

/* Returns 0 when the program is to end. */
static int read_command(void) {
    char line[256];
    if (!read_line(line, sizeof line) || strncmp(line, "quit", 4) == 0)
        return 0;
    report(strncmp(line, "mark", 4) == 0);
    return 1;
}

/* ---- set-up ---- */

static struct sample *new_sample(uint32_t id) {
    struct sample *sample = calloc(1, sizeof *sample);
    if (sample == NULL)
        fail("calloc");
    sample->id = id;
    if (options.dump != NULL) {
        char name[4096];
        if (id == DIRECT_ID)
            snprintf(name, sizeof name, "%s.direct.ts", options.dump);
        else
            snprintf(name, sizeof name, "%s.%u.ts", options.dump, id);
        if ((sample->dump = fopen(name, "wb")) == NULL)
            fail(name);
    }
    return sample;
}

static void make_viewers(void) {
    size_t others = options.slow + options.stalled + (options.direct_port != 0);
    viewer_count = options.healthy + others;
    viewers = calloc(viewer_count, sizeof *viewers);
    if (viewers == NULL)
        fail("calloc");
    size_t at = 0;
    if (options.direct_port != 0)
        viewers[at++].sample = new_sample(DIRECT_ID);
    /* The troubled are spread evenly among the healthy, so that a server that serves in order meets them. */
    size_t troubled = options.slow + options.stalled, placed = 0, placed_slow = 0;
    size_t total = options.healthy + troubled;
    size_t healthy_placed = 0;
    for (size_t i = 0; i < total; i++, at++) {
        if (troubled > 0 && placed < troubled && (i + 1) * troubled / total > placed) {
            placed++;
            int slow = placed * options.slow / troubled > placed_slow;
            placed_slow += (size_t)slow;
            viewers[at].kind = slow ? SLOW : STALLED;
            continue;
        }
        healthy_placed++;
        if (options.samples > 0 && healthy_placed * options.samples / options.healthy >
                                       (healthy_placed - 1) * options.samples / options.healthy)
            viewers[at].sample = new_sample((uint32_t)at);
    }
}

static void parse(int argc, char **argv) {
    static const struct option names[] = {
        {"port", required_argument, NULL, 'p'},        {"path", required_argument, NULL, 'u'},
        {"viewers", required_argument, NULL, 'n'},     {"connect-rate", required_argument, NULL, 'c'},
        {"slow", required_argument, NULL, 'l'},        {"slow-rate", required_argument, NULL, 'r'},
        {"stalled", required_argument, NULL, 's'},     {"stalled-rcvbuf", required_argument, NULL, 'b'},
        {"samples", required_argument, NULL, 'k'},     {"stamps", required_argument, NULL, 't'},
        {"dump", required_argument, NULL, 'o'},        {"direct-port", required_argument, NULL, 'd'},
        {"direct-path", required_argument, NULL, 'e'}, {"duration", required_argument, NULL, 'x'},
        {NULL, 0, NULL, 0}};
    int option;
    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (option) {
        case 'p': options.port = atoi(optarg); break;
        case 'u': options.path = optarg; break;
        case 'n': options.healthy = strtoul(optarg, NULL, 10); break;
        case 'c': options.connect_rate = atof(optarg); break;
        case 'l': options.slow = strtoul(optarg, NULL, 10); break;
        case 'r': options.slow_rate = strtoul(optarg, NULL, 10); break;
        case 's': options.stalled = strtoul(optarg, NULL, 10); break;
        case 'b': options.stalled_rcvbuf = atoi(optarg); break;
        case 'k': options.samples = strtoul(optarg, NULL, 10); break;
        case 't': options.stamps = optarg; break;
        case 'o': options.dump = optarg; break;
        case 'd': options.direct_port = atoi(optarg); break;
        case 'e': options.direct_path = optarg; break;
        case 'x': options.duration_ns = (uint64_t)(atof(optarg) * 1e9); break;
        default: exit(2);
        }
    }
    if (options.port <= 0 || options.connect_rate <= 0 || options.samples > options.healthy || optind != argc) {
        fprintf(stderr, "load: --port is needed, --samples at most --viewers, --connect-rate above 0\n");
        exit(2);
    }
}

int main(int argc, char **argv) {
    struct epoll_event events[1024];
    parse(argc, argv);
    if (options.stamps != NULL && (stamps_file = fopen(options.stamps, "wb")) == NULL)
        fail(options.stamps);
    begin_loop();
    make_viewers();
    started_at_ns = now_ns();
    uint64_t ticked_ns = started_at_ns;
    for (int running = 1; running;) {
        uint64_t now = now_ns();
        if (now - started_at_ns >= options.duration_ns)
            break;
        while (started_count < viewer_count &&
               (double)started_count <= (double)(now - started_at_ns) / 1e9 * options.connect_rate) {
            start_viewer(&viewers[started_count], started_count);
            started_count++;
        }
        if (now - ticked_ns >= TICK_NS) {
            uint64_t share = options.slow_rate * (now - ticked_ns) / 1000000000ull;
            ticked_ns = now;
            for (size_t i = 0; i < started_count && options.slow > 0; i++)
                if (viewers[i].kind == SLOW && viewers[i].state == BODY)
                    read_body(&viewers[i], share > 0 ? share : 1);
        }
        int wait_ms = started_count < viewer_count ? 2 : (int)(TICK_NS / 1000000);
        int count = epoll_wait(epoll_fd, events, 1024, wait_ms);
        if (count < 0 && errno != EINTR)
            fail("epoll_wait");
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == NULL)
                running = read_command();
            else
                handle(events[i].data.ptr, events[i].events);
        }
    }
    report(0);
    for (size_t i = 0; i < viewer_count; i++)
        if (viewers[i].sample != NULL && viewers[i].sample->dump != NULL)
            fclose(viewers[i].sample->dump);
    if (stamps_file != NULL)
        fclose(stamps_file);
    return 0;
}
