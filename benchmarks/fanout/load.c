/* The load: any number of WebSocket clients on one thread, which count what comes and when.
 *
 * load KEY VALUE …
 *   work         events: have events made, count their deliveries · asks: ask again once answered ·
 *                handshakes: come, be welcomed, go, again · idle: come and stay until standard input ends
 *   port path header connections    where to; each `header` is a line of the request; a %s in `path` is the task
 *   tasks        a file, a line for each task, which stands for it: connection N watches task N modulo their number
 *   on           "PREFIX\tTEXT", in order: when a text that begins so comes, TEXT is said ("" says nothing; a %s in it
 *                is the task). After the last one the client is ready.
 *   ask          the text that `asks` asks with; whatever text comes is its answer
 *   source       the port for datagrams "FIRST TASKS EVENTS AT": make events of so many tasks, which say AT (us)
 *   rate span    events a second of each task; so many tasks a datagram
 *   window       instead of a rate: so many events under way, a new one for each that all have got
 *   warm seconds how long before, and how long, it is measured
 *   drain        how long after that it is waited for what is on its way
 *   pid          of the server, may be repeated: its CPU is read at the edges of that time
 *
 * It prints one line of JSON. An event's delivery is a text with "at":N; where it has a "seq":N, that must be one
 * more than the last on its connection.
 */
#include "websocket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { MOST = 1 << 16, ROUND = 512, TOGETHER = 64, RING = 1 << 14, BUFFER = 1 << 20, TIMER = -1 };
#define PATIENCE_NS 60000000000

struct peer {
    int fd, step; /* -1 before the handshake's answer; then how many of `on` have come */
    int is_closing;
    long seq, got;
    int64_t since; /* of what is under way, its start */
    char *data;    /* of a frame that is not all there */
    size_t have;
};

static struct {
    const char *work, *path, *ask;
    int port, connections, source, span, window, pids[16], pid_count, on_count;
    double rate, warm, seconds, drain;
    char header[4096], *prefix[8], *text[8], **tasks;
    int task_count;
} given = {.work = "events", .path = "/", .ask = "", .connections = 1, .span = 1, .warm = 1, .seconds = 2, .drain = 5};

static struct peer peers[MOST];
static int epoll, source, timer, begun, ready, lost;
static long done, gaps; /* deliveries, answers or handshakes; breaks in a task's numbers */
static long made, due, datagrams; /* events that were asked for, and the deliveries that they are to become */
static int remaining[RING], completed; /* how many have not got an event yet; events that all have got */
static int64_t first_at, latest, slowest;
static int64_t window_begin, window_end = INT64_MAX;
static long histogram[64 * 64], counted;

/* --- times */

static void took(int64_t began, int64_t now) {
    if (began < window_begin || began > window_end) return;
    uint64_t us = now > began ? (now - began) / 1000 : 0;
    int top = us < 64 ? 0 : 58 - __builtin_clzll(us); /* 64 steps for each power of two */
    histogram[top * 64 + (us >> top)]++;
    counted++;
    if (now - began > slowest) slowest = now - began;
}

static double percentile(double share) {
    long left = counted * share;
    for (int i = 0; i < 64 * 64; i++)
        if ((left -= histogram[i]) < 0) return (double)((uint64_t)(i % 64) << i / 64);
    return 0;
}

/* --- one client */

static void say(struct peer *peer, int opcode, const char *text) {
    static char frame[70000];
    size_t size = write_frame(frame, opcode, text, strlen(text), 1);
    if (send(peer->fd, frame, size, MSG_NOSIGNAL) != (ssize_t)size) lost++;
}

static const char *task_of(struct peer *peer) { return given.task_count ? given.tasks[(peer - peers) % given.task_count] : ""; }

static void come(struct peer *peer) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(given.port)};
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    int one = 1;
    char text[6000], path[300];
    snprintf(path, sizeof path, given.path, task_of(peer));
    *peer = (struct peer){.fd = socket(AF_INET, SOCK_STREAM, 0), .step = -1, .since = now_ns()};
    if (peer->fd < 0 || connect(peer->fd, (void *)&address, sizeof address)) die("connect");
    setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    int size = snprintf(text, sizeof text,
                        "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s\r\n",
                        path, given.port, given.header);
    if (send(peer->fd, text, size, MSG_NOSIGNAL) != size) die("send");
    struct epoll_event wanted = {.events = EPOLLIN, .data.u32 = peer - peers};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, peer->fd, &wanted)) die("epoll_ctl");
}

static void ask(struct peer *peer) {
    peer->since = now_ns();
    say(peer, 1, given.ask);
}

static int is(const char *work) { return !strcmp(given.work, work); }

static void become_ready(struct peer *peer) {
    if (is("handshakes")) {
        took(peer->since, now_ns());
        done++;
        peer->is_closing = 1;
        say(peer, 8, "\x03\xe8");
        return;
    }
    ready++;
    if (begun < given.connections) come(&peers[begun++]);
}

static void gone(struct peer *peer) {
    struct linger none = {.l_onoff = 1};
    if (!peer->is_closing) {
        lost++;
        fprintf(stderr, "load: a connection was lost, at step %d\n", peer->step);
    }
    setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    close(peer->fd);
    free(peer->data);
    if (peer->is_closing) come(peer);
    else if (lost > 100) exit(1);
}

/* --- what it hears */

/* The number after `name`, looked for where the last one was; -1 where there is none. */
static long long number_after(struct frame *frame, const char *name, size_t size, size_t *hint) {
    if (*hint + size > frame->length || memcmp(frame->payload + *hint, name, size)) {
        char *found = memmem(frame->payload, frame->length, name, size);
        if (!found) return -1;
        *hint = found - frame->payload;
    }
    long long number = 0;
    for (size_t i = *hint + size; i < frame->length && frame->payload[i] >= '0' && frame->payload[i] <= '9'; i++)
        number = number * 10 + (frame->payload[i] - '0');
    return number;
}

static void hear_event(struct peer *peer, struct frame *frame, int64_t now) {
    static size_t seq_hint, at_hint;
    long long seq = number_after(frame, "\"seq\":", 6, &seq_hint);
    if (seq >= 0) {
        if (peer->seq && seq != peer->seq + 1) gaps++;
        peer->seq = seq;
    }
    long long at = number_after(frame, "\"at\":", 5, &at_hint);
    if (at < 0) return; /* the task's own */
    took(at * 1000, now);
    done++;
    int *left = &remaining[peer->got++ % RING];
    if (given.window && --*left == 0) completed++;
}

static void hear_text(struct peer *peer, struct frame *frame, int64_t now) {
    if (peer->step < given.on_count) {
        const char *prefix = given.prefix[peer->step], *text = given.text[peer->step];
        char said[70000];
        if (frame->length < strlen(prefix) || memcmp(frame->payload, prefix, strlen(prefix))) return;
        peer->step++;
        snprintf(said, sizeof said, text, task_of(peer));
        if (*said) say(peer, 1, said);
        if (peer->step == given.on_count) become_ready(peer);
    } else if (frame->length == 1 && *frame->payload == '2') {
        say(peer, 1, "3"); /* engine.io's ping */
    } else if (is("asks") && ready >= given.connections) {
        if (memmem(frame->payload, frame->length, "\"type\":\"error\"", 14)) lost++;
        took(peer->since, now);
        done++;
        if (now < window_end) ask(peer);
    } else {
        hear_event(peer, frame, now);
    }
}

static size_t hear_handshake(struct peer *peer, char *data, size_t have) {
    char *end = memmem(data, have, "\r\n\r\n", 4);
    if (!end) return 0;
    if (memcmp(data, "HTTP/1.1 101", 12)) {
        fprintf(stderr, "load: not let in: %.*s\n", (int)(have < 600 ? have : 600), data);
        exit(1);
    }
    peer->step = 0;
    if (!given.on_count) become_ready(peer);
    return end + 4 - data;
}

static size_t hear_all(struct peer *peer, char *data, size_t have) {
    size_t at = peer->step < 0 ? hear_handshake(peer, data, have) : 0;
    int64_t now = now_ns();
    struct frame frame;
    for (; peer->step >= 0 && read_frame(data + at, have - at, &frame); at += frame.whole) {
        if (frame.opcode == 1) hear_text(peer, &frame, now);
        if (frame.opcode == 9) say(peer, 10, "");
        if (frame.opcode == 8) return have + 1;
    }
    return at;
}

static void hear(struct peer *peer) {
    static char buffer[BUFFER];
    memcpy(buffer, peer->data, peer->have);
    ssize_t got = recv(peer->fd, buffer + peer->have, BUFFER - peer->have, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return;
    size_t have = peer->have + (got > 0 ? got : 0), used = got > 0 ? hear_all(peer, buffer, have) : have + 1;
    if (used > have) return gone(peer);
    peer->have = have - used;
    if (peer->have) peer->data = realloc(peer->data, peer->have);
    memcpy(peer->data, buffer + used, peer->have);
}

/* --- events */

static void have_made(int first, int tasks, int events, int64_t at) {
    char words[100];
    int size = snprintf(words, sizeof words, "%d %d %d %lld", first, tasks, events, (long long)at / 1000);
    if (send(source, words, size, 0) != size) die("send to the source");
    for (int i = 0; given.window && i < events; i++) remaining[(made + i) % RING] = given.connections;
    made += (long)events * tasks;
    due += (long)events * tasks * (given.connections / given.task_count);
}

static void on_timer(void) {
    uint64_t times;
    int spans = (given.task_count + given.span - 1) / given.span;
    if (read(timer, &times, sizeof times) != sizeof times) return;
    for (; times && now_ns() < window_end; times--, datagrams++) {
        int64_t at = first_at + (int64_t)(datagrams * 1e9 / (given.rate * spans));
        int first = datagrams % spans * given.span, left = given.task_count - first;
        have_made(first, left < given.span ? left : given.span, 1, at);
    }
}

static void begin_work(void) {
    if (is("asks"))
        for (int i = 0; i < given.connections; i++) ask(&peers[i]);
    if (!is("events")) return;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(given.source)};
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    source = socket(AF_INET, SOCK_DGRAM, 0);
    if (connect(source, (void *)&address, sizeof address)) die("source");
    first_at = now_ns();
    if (given.window) return have_made(0, 1, given.window, first_at);
    int64_t each = 1e9 / (given.rate * ((given.task_count + given.span - 1) / given.span));
    struct itimerspec times = {.it_interval = {each / 1000000000, each % 1000000000}};
    first_at += 1000000;
    times.it_value = (struct timespec){first_at / 1000000000, first_at % 1000000000};
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &times, NULL);
    epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &(struct epoll_event){.events = EPOLLIN, .data.u32 = TIMER});
}

/* --- the whole */

static void go_round(int timeout_ms) {
    struct epoll_event events[ROUND];
    int n = epoll_wait(epoll, events, ROUND, timeout_ms);
    for (int i = 0; i < n; i++) {
        if (events[i].data.u32 == (uint32_t)TIMER) on_timer();
        else hear(&peers[events[i].data.u32]);
    }
    latest = now_ns();
    if (completed && latest < window_end) {
        int events_due = completed;
        completed = 0;
        have_made(0, 1, events_due, latest);
    }
}

struct mark {
    int64_t at, own, cpu[16];
    long done;
};

static struct mark marked(void) {
    struct mark mark = {.at = now_ns(), .own = cpu_ns(getpid()), .done = done};
    for (int i = 0; i < given.pid_count; i++) mark.cpu[i] = cpu_ns(given.pids[i]);
    return mark;
}

static void go_until(int64_t end) {
    while (latest < end) go_round(10);
}

static void measure(void) {
    int64_t began = now_ns();
    begin_work();
    go_until(began + given.warm * 1e9);
    struct mark from = marked();
    window_begin = from.at;
    go_until(window_begin + given.seconds * 1e9);
    struct mark to = marked();
    window_end = to.at;
    while (is("events") && done < due && latest < window_end + given.drain * 1e9) go_round(10);
    printf("{\"seconds\":%.6f,\"done\":%ld,\"own_cpu\":%.4f,\"made\":%ld,\"due\":%ld,\"owed\":%ld,\"gaps\":%ld,\"lost\":%d,"
           "\"drain_s\":%.3f,\"p50_us\":%.0f,\"p99_us\":%.0f,\"max_us\":%.0f,\"cpu_ns\":[",
           (to.at - from.at) / 1e9, to.done - from.done, (to.own - from.own) / (double)(to.at - from.at), made, due,
           is("events") ? due - done : 0, gaps, lost, (latest - window_end) / 1e9, percentile(0.5), percentile(0.99), slowest / 1e3);
    for (int i = 0; i < given.pid_count; i++) printf("%s%lld", i ? "," : "", (long long)(to.cpu[i] - from.cpu[i]));
    printf("]}\n");
}

static void read_tasks(const char *path) {
    FILE *file = fopen(path, "r");
    char line[200];
    if (!file) die(path);
    given.tasks = calloc(MOST, sizeof(char *));
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        given.tasks[given.task_count++] = strdup(line);
    }
    fclose(file);
}

static void read_on(char *value) {
    char *tab = strchr(value, '\t');
    if (!tab || given.on_count == 8) die("on");
    *tab = 0;
    given.prefix[given.on_count] = value;
    given.text[given.on_count++] = tab + 1;
}

static void read_word(const char *key, char *value) {
    size_t used = strlen(given.header);
    if (!strcmp(key, "work")) given.work = value;
    else if (!strcmp(key, "port")) given.port = atoi(value);
    else if (!strcmp(key, "path")) given.path = value;
    else if (!strcmp(key, "header")) snprintf(given.header + used, sizeof given.header - used, "%s\r\n", value);
    else if (!strcmp(key, "connections")) given.connections = atoi(value);
    else if (!strcmp(key, "tasks")) read_tasks(value);
    else if (!strcmp(key, "on")) read_on(value);
    else if (!strcmp(key, "ask")) given.ask = value;
    else if (!strcmp(key, "source")) given.source = atoi(value);
    else if (!strcmp(key, "rate")) given.rate = atof(value);
    else if (!strcmp(key, "span")) given.span = atoi(value);
    else if (!strcmp(key, "window")) given.window = atoi(value);
    else if (!strcmp(key, "warm")) given.warm = atof(value);
    else if (!strcmp(key, "seconds")) given.seconds = atof(value);
    else if (!strcmp(key, "drain")) given.drain = atof(value);
    else if (!strcmp(key, "pid") && given.pid_count < 16) given.pids[given.pid_count++] = atoi(value);
    else die(key);
}

int main(int count, char **words) {
    for (int i = 1; i + 1 < count; i += 2) read_word(words[i], words[i + 1]);
    epoll = epoll_create1(0);
    int64_t began = latest = now_ns();
    while (begun < given.connections && begun < TOGETHER) come(&peers[begun++]);
    while (!is("handshakes") && ready < given.connections) {
        go_round(10);
        if (latest > began + PATIENCE_NS) {
            fprintf(stderr, "load: only %d of %d were let in\n", ready, given.connections);
            return 1;
        }
    }
    if (!is("idle")) {
        measure();
        return 0;
    }
    printf("ready\n");
    fflush(stdout);
    epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &(struct epoll_event){.events = EPOLLIN, .data.u32 = TIMER});
    for (struct epoll_event events[ROUND];;) { /* whatever they hear they leave */
        int n = epoll_wait(epoll, events, ROUND, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.u32 == (uint32_t)TIMER) return 0;
            hear(&peers[events[i].data.u32]);
        }
    }
}
