// Many browsers in one thread, on Linux: opens websockets, subscribes, reads every frame, and measures how old each quote
// is when it arrives. Compiled and driven by load.py: commands come on stdin, answers go to stdout as lines of JSON.
//
//   wsclient PORTS CONNECTIONS SYMBOLS EACH INFLIGHT STAMP SNAPSHOTS DEFLATE RECEIVE_BUFFER PATIENCE_S PREFIX FIRST COOKIE
//
// PORTS is a comma-separated list, taken in turn. Connection i watches symbols (7i + 13j) % SYMBOLS for j < EACH, named
// PREFIX and four digits, counted from FIRST. COOKIE may be empty. STAMP is the field that holds the time of sending in ms of the wall clock. With SNAPSHOTS the
// connections are ready once each has heard its first snapshot, else once each was accepted. RECEIVE_BUFFER is the socket's
// (0 = the system's choice); it is small where browsers are to stop reading.
//
//   reset      starts a window            report     ends it and tells it
//   stall N    N connections read no more
//   final SEQ  tells how many watched symbols do not show this sequence number within the patience
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
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

enum { OPENING, ASKING, OPEN, STALLED, DEAD };
enum { LONGEST_MS = 60000, BUFFER = 1 << 20, CHECK_MS = 10, STDIN = -1 };

typedef struct {
    int fd, state, ready, kept;
    double began;
    unsigned char *rest;  // the beginning of a frame
    uint32_t *seq;        // the last one heard, by symbol
} Browser;

static Browser *browsers;
static int connections, symbols, each, inflight, snapshots, deflate, receive_buffer, epoll, ports[16], port_count;
static double patience;
static char stamp[32], prefix[32];
static int first;
static const char *cookie;
static int started, accepted, ready, refused, dead;
static uint64_t frames, values, bytes, backwards, ages[LONGEST_MS + 1];
static double window_began, cpu_began, first_began;

static double clock_s(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static double cpu_s(void) { return clock_s(CLOCK_PROCESS_CPUTIME_ID); }

static int watched(int browser, int which) { return (browser * 7 + which * 13) % symbols; }

static void drop(Browser *b) {
    epoll_ctl(epoll, EPOLL_CTL_DEL, b->fd, 0);
    close(b->fd);
    b->state = DEAD;
}

static void send_text(Browser *b, const char *text, int length) {
    unsigned char *frame = malloc(length + 8);  // masked with zeros, which is legal and free
    int head = length < 126 ? 6 : 8;
    memset(frame, 0, head);
    frame[0] = 0x81;
    frame[1] = 0x80 | (length < 126 ? length : 126);
    if (length >= 126) frame[2] = length >> 8, frame[3] = length;
    memcpy(frame + head, text, length);
    if (send(b->fd, frame, head + length, MSG_NOSIGNAL) < 0) dead++, drop(b);
    free(frame);
}

static void subscribe(Browser *b) {
    char *text = malloc(64 + 64 * each);
    int n = sprintf(text, "{\"op\":\"subscribe\",\"quotes\":[");
    for (int j = 0; j < each; j++) n += sprintf(text + n, "%s\"%s%04d\"", j ? "," : "", prefix, first + watched(b - browsers, j));
    n += sprintf(text + n, "]}");
    send_text(b, text, n);
    free(text);
}

static uint64_t number(const unsigned char **at, const unsigned char *end) {
    uint64_t value = 0;
    while (*at < end && **at == ' ') ++*at;
    while (*at < end && **at >= '0' && **at <= '9') value = value * 10 + *(*at)++ - '0';
    return value;
}

// Every quote of a message. Those of a snapshot may be old: they count as heard, not as delivered.
static void hear(Browser *b, const unsigned char *at, const unsigned char *end, double now_ms) {
    static const char sequence[] = "\"seq\":", ping[] = "{\"type\":\"ping\",\"n\":";
    int length = end - at, stamp_length = strlen(stamp), prefix_length = strlen(prefix);
    int snapshot = length > 18 && !memcmp(at, "{\"type\":\"snapshot\"", 18);
    if (length > 19 && !memcmp(at, ping, 19)) {
        char pong[64];
        at += 19;
        send_text(b, pong, sprintf(pong, "{\"op\":\"pong\",\"n\":%lu}", (unsigned long)number(&at, end)));
        return;
    }
    while ((at = memmem(at, end - at, prefix, prefix_length))) {
        at += prefix_length;
        int symbol = (int)number(&at, end) - first;
        if (!(at = memmem(at, end - at, sequence, sizeof sequence - 1))) break;
        at += sizeof sequence - 1;
        uint32_t seq = number(&at, end);
        if (!(at = memmem(at, end - at, stamp, stamp_length))) break;
        at += stamp_length;
        double age = now_ms - number(&at, end);
        if (symbol < 0 || symbol >= symbols) continue;
        backwards += seq < b->seq[symbol];
        b->seq[symbol] = seq;
        if (snapshot) continue;
        values++;
        ages[age < 0 ? 0 : age > LONGEST_MS ? LONGEST_MS : (int)age]++;
    }
    if (snapshot && !b->ready) b->ready = 1, ready++;
}

// Whole frames of what came; returns how much of it was used.
static int take(Browser *b, unsigned char *data, int length, double now_ms) {
    int used = 0;
    while (length - used >= 2 && b->state == OPEN) {
        unsigned char *h = data + used;
        int head = (h[1] & 127) == 126 ? 4 : (h[1] & 127) == 127 ? 10 : 2;
        if (length - used < head) break;
        uint64_t size = h[1] & 127;
        if (head > 2) size = 0;
        for (int i = 2; i < head; i++) size = size << 8 | h[i];
        if (size > BUFFER - 16) { fprintf(stderr, "a frame of %lu bytes\n", (unsigned long)size); exit(1); }
        if ((uint64_t)(length - used) < head + size) break;
        int kind = h[0] & 15;
        if (kind == 1 || kind == 2) {
            frames++, bytes += head + size;
            if (!(h[0] & 0x40)) hear(b, h + head, h + head + size, now_ms);  // a compressed one is only counted
        } else if (kind == 9 && size < 126) {
            unsigned char pong[132] = {0x8a, 0x80 | size};
            memcpy(pong + 6, h + head, size);
            if (send(b->fd, pong, 6 + size, MSG_NOSIGNAL) < 0) break;
        } else if (kind == 8) {
            dead++, drop(b);
        }
        used += head + size;
    }
    return used;
}

static void open_next(void) {
    int id = started++, one = 1;
    Browser *b = browsers + id;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(ports[id % port_count])};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    b->began = clock_s(CLOCK_MONOTONIC);
    b->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (b->fd < 0) { perror("socket"); exit(1); }
    setsockopt(b->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (receive_buffer) setsockopt(b->fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    connect(b->fd, (void *)&to, sizeof to);
    struct epoll_event event = {.events = EPOLLOUT, .data.u32 = id};
    epoll_ctl(epoll, EPOLL_CTL_ADD, b->fd, &event);
}

static void ask(Browser *b) {
    char request[4096];
    int error = 0, port = ports[(b - browsers) % port_count];
    socklen_t size = sizeof error;
    getsockopt(b->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    int n = snprintf(request, sizeof request,
                    "GET /ws/v1/ HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nOrigin: http://127.0.0.1:%d\r\nUpgrade: websocket\r\n"
                    "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                    "%s%s%s%s\r\n", port, port, *cookie ? "Cookie: " : "", cookie, *cookie ? "\r\n" : "",
                    deflate ? "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n" : "");
    if (error || send(b->fd, request, n, MSG_NOSIGNAL) != n) { refused++, drop(b); return; }
    b->state = ASKING;
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = b - browsers};
    epoll_ctl(epoll, EPOLL_CTL_MOD, b->fd, &event);
}

static void receive(Browser *b) {
    static unsigned char data[2 * BUFFER];
    memcpy(data, b->rest, b->kept);
    int came = recv(b->fd, data + b->kept, BUFFER, 0), used = 0;
    if (came < 0 && errno == EAGAIN) return;
    if (came <= 0) {
        *(b->state == ASKING ? &refused : &dead) += 1;
        drop(b);
        return;
    }
    int length = b->kept + came;
    if (b->state == ASKING) {
        unsigned char *end = memmem(data, length, "\r\n\r\n", 4);
        if (end && memcmp(data, "HTTP/1.1 101", 12)) { refused++, drop(b); return; }
        if (end) {
            b->state = OPEN, accepted++, used = end + 4 - data;
            if (!snapshots) b->ready = 1, ready++;
            subscribe(b);
            if (accepted + refused == connections)
                printf("{\"accepted\":%d,\"refused\":%d,\"seconds\":%.4f}\n", accepted, refused,
                       clock_s(CLOCK_MONOTONIC) - first_began), fflush(stdout);
        }
    }
    if (b->state == OPEN) used += take(b, data + used, length - used, clock_s(CLOCK_REALTIME) * 1000);
    if (b->state == DEAD) return;
    b->kept = length - used;
    b->rest = realloc(b->rest, b->kept + 1);
    memcpy(b->rest, data + used, b->kept);
}

static int age_at(double share) {
    uint64_t all = 0, sum = 0;
    for (int i = 0; i <= LONGEST_MS; i++) all += ages[i];
    for (int i = 0; i <= LONGEST_MS; i++)
        if ((sum += ages[i]) && sum >= share * all) return i;
    return 0;
}

static void report(void) {
    double seconds = clock_s(CLOCK_MONOTONIC) - window_began;
    printf("{\"seconds\":%.4f,\"frames\":%lu,\"values\":%lu,\"bytes\":%lu,\"p50_ms\":%d,\"p99_ms\":%d,\"longest_ms\":%d,"
           "\"backwards\":%lu,\"cores\":%.4f,\"dead\":%d}\n", seconds, frames, values, bytes, age_at(0.5), age_at(0.99),
           age_at(1), backwards, (cpu_s() - cpu_began) / seconds, dead);
    fflush(stdout);
}

static int missing(uint32_t seq) {
    int count = 0;
    for (Browser *b = browsers; b < browsers + connections; b++)
        for (int j = 0; b->state != STALLED && j < each; j++)
            count += b->state != OPEN || b->seq[watched(b - browsers, j)] != seq;
    return count;
}

static void stall(int count) {
    for (Browser *b = browsers; b < browsers + count; b++)
        if (b->state == OPEN) b->state = STALLED, epoll_ctl(epoll, EPOLL_CTL_DEL, b->fd, 0);
}

int main(int count, char **words) {
    if (count != 14) { fprintf(stderr, "see the top of wsclient.c\n"); return 2; }
    for (char *word = strtok(words[1], ","); word && port_count < 16; word = strtok(0, ",")) ports[port_count++] = atoi(word);
    connections = atoi(words[2]), symbols = atoi(words[3]), each = atoi(words[4]), inflight = atoi(words[5]);
    sprintf(stamp, "\"%.20s\":", words[6]);
    snapshots = atoi(words[7]), deflate = atoi(words[8]), receive_buffer = atoi(words[9]), patience = atof(words[10]);
    sprintf(prefix, "%.30s", words[11]), first = atoi(words[12]), cookie = words[13];
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    browsers = calloc(connections, sizeof *browsers);
    for (int i = 0; i < connections; i++) browsers[i].seq = calloc(symbols, 4), browsers[i].rest = malloc(1);
    epoll = epoll_create1(0);
    struct epoll_event events[512], input = {.events = EPOLLIN, .data.u32 = STDIN};
    epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &input);
    int told = 0, wanted_seq = -1;
    double deadline = 0;
    char line[64];
    setvbuf(stdin, 0, _IONBF, 0);
    first_began = window_began = clock_s(CLOCK_MONOTONIC);
    while (1) {
        while (started < connections && started - accepted - refused < inflight) open_next();
        int n = epoll_wait(epoll, events, 512, wanted_seq < 0 ? 1000 : CHECK_MS);
        for (int i = 0; i < n; i++) {
            if (events[i].data.u32 == (uint32_t)STDIN) {
                if (!fgets(line, sizeof line, stdin)) return 0;
                if (!strcmp(line, "reset\n")) {
                    frames = values = bytes = backwards = 0;
                    memset(ages, 0, sizeof ages);
                    window_began = clock_s(CLOCK_MONOTONIC), cpu_began = cpu_s();
                } else if (!strcmp(line, "report\n")) report();
                else if (!strncmp(line, "stall ", 6)) stall(atoi(line + 6));
                else if (!strncmp(line, "final ", 6)) wanted_seq = atoi(line + 6), deadline = clock_s(CLOCK_MONOTONIC) + patience;
                continue;
            }
            Browser *b = browsers + events[i].data.u32;
            if (b->state == OPENING) ask(b);
            else if (b->state == ASKING || b->state == OPEN) receive(b);
        }
        if (!told && ready + refused >= connections) {
            told = 1;
            printf("{\"ready\":%d,\"refused\":%d,\"seconds\":%.4f}\n", ready, refused, clock_s(CLOCK_MONOTONIC) - first_began);
            fflush(stdout);
        }
        if (wanted_seq >= 0) {
            int left = missing(wanted_seq);
            if (left && clock_s(CLOCK_MONOTONIC) < deadline) continue;
            printf("{\"missing\":%d}\n", left), fflush(stdout), wanted_seq = -1;
        }
    }
}
