/* The floor: what a kernel takes for the same deliveries, answers and handshakes, with next to nothing around it.
 *
 * floor PORT SOURCE_PORT: serves WebSockets on one thread, one send() for each delivery and each answer. A datagram to
 * SOURCE_PORT, "FIRST TASKS EVENTS AT", is events of the tasks FIRST, FIRST+1, … . Task ids are their numbers.
 */
#include "websocket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_FDS = 65536, MAX_TASKS = 4096, ROOM = 16384 };

struct peer {
    int is_open, place, task; /* its place among the watchers of its task, -1 where it watches none */
    size_t have;
    char *data; /* what has come of a frame or of the handshake */
};
struct task {
    int count, room, *watchers;
    long seq;
};
static struct peer peers[MAX_FDS];
static struct task tasks[MAX_TASKS];
static char answer[ROOM];

static int bound(int kind, int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    int fd = socket(AF_INET, kind, 0), one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (void *)&address, sizeof address)) die("bind");
    if (kind == SOCK_STREAM && listen(fd, 4096)) die("listen");
    return fd;
}

static void leave(struct peer *peer) {
    if (peer->place < 0) return;
    struct task *task = &tasks[peer->task];
    int last = task->watchers[--task->count];
    task->watchers[peer->place] = last;
    peers[last].place = peer->place;
    peer->place = -1;
}

static void watch(int fd, int number) {
    struct peer *peer = &peers[fd];
    struct task *task = &tasks[number];
    if (task->count == task->room) {
        task->room = task->room * 2 + 8;
        task->watchers = realloc(task->watchers, task->room * sizeof(int));
    }
    peer->task = number;
    peer->place = task->count;
    task->watchers[task->count++] = fd;
}

static void hang_up(int fd) {
    leave(&peers[fd]);
    free(peers[fd].data);
    memset(&peers[fd], 0, sizeof(struct peer));
    close(fd);
}

static void say(int fd, int opcode, const char *text) {
    size_t size = write_frame(answer, opcode, text, strlen(text), 0);
    if (send(fd, answer, size, MSG_NOSIGNAL) != (ssize_t)size) hang_up(fd);
}

static void broadcast(int number, long long at) {
    char text[400], frame[420];
    struct task *task = &tasks[number];
    struct timespec t;
    struct tm utc;
    char time[40];
    clock_gettime(CLOCK_REALTIME, &t);
    strftime(time, sizeof time, "%FT%T", gmtime_r(&t.tv_sec, &utc));
    int length = snprintf(text, sizeof text,
                          "{\"type\":\"event\",\"task_id\":\"00000000-0000-4000-8000-%012d\",\"seq\":%ld,"
                          "\"event\":\"progress\",\"time\":\"%s.%03ldZ\",\"data\":{\"phase\":\"bench\","
                          "\"status\":\"running\",\"progress\":null,\"at\":%lld}}",
                          number, ++task->seq, time, t.tv_nsec / 1000000, at);
    size_t size = write_frame(frame, 1, text, length, 0);
    for (int i = 0; i < task->count; i++)
        if (send(task->watchers[i], frame, size, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)size) {
            fprintf(stderr, "floor: a watcher takes nothing\n"); /* it has no queue of its own */
            exit(1);
        }
}

static void produce(int source) {
    char words[200];
    ssize_t got;
    while ((got = recv(source, words, sizeof words - 1, MSG_DONTWAIT)) > 0) {
        int first, count, events;
        long long at;
        words[got] = 0;
        if (sscanf(words, "%d %d %d %lld", &first, &count, &events, &at) != 4) continue;
        for (int e = 0; e < events; e++)
            for (int task = first; task < first + count; task++) broadcast(task % MAX_TASKS, at);
    }
}

static void shake_hands(int fd) {
    struct peer *peer = &peers[fd];
    char key[40], accept[29], text[400];
    char *found = strcasestr(peer->data, "sec-websocket-key:");
    if (!found || sscanf(found + 18, " %24s", key) != 1) return hang_up(fd);
    accept_of(key, accept);
    peer->is_open = 1;
    peer->have = 0;
    int size = snprintf(text, sizeof text,
                        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: gateway.v1\r\n\r\n",
                        accept);
    if (send(fd, text, size, MSG_NOSIGNAL) == size) say(fd, 1, "{\"type\":\"welcome\",\"protocol\":\"gateway.v1\"}");
}

/* 0 where the peer has gone. */
static int obey(int fd, struct frame *frame) {
    if (frame->opcode == 8) {
        size_t size = write_frame(answer, 8, frame->payload, frame->length, 0);
        send(fd, answer, size, MSG_NOSIGNAL);
        hang_up(fd);
        return 0;
    }
    if (frame->opcode != 1) return 1;
    char *task = memmem(frame->payload, frame->length, "\"task_id\":\"", 11);
    if (task) watch(fd, atoi(task + 11) % MAX_TASKS);
    say(fd, 1, "{\"type\":\"result\",\"id\":\"1\",\"result\":{\"time\":\"2026-01-01T00:00:00.000Z\"}}");
    return 1;
}

static void hear(int fd) {
    struct peer *peer = &peers[fd];
    if (!peer->data) peer->data = malloc(ROOM);
    ssize_t got = recv(fd, peer->data + peer->have, ROOM - 1 - peer->have, 0);
    if (got <= 0) return hang_up(fd);
    peer->have += got;
    peer->data[peer->have] = 0;
    if (!peer->is_open) {
        if (strstr(peer->data, "\r\n\r\n")) shake_hands(fd);
        return;
    }
    struct frame frame;
    size_t at = 0;
    for (; read_frame(peer->data + at, peer->have - at, &frame); at += frame.whole)
        if (!obey(fd, &frame)) return;
    peer->have -= at;
    memmove(peer->data, peer->data + at, peer->have);
    if (!peer->have) { /* as an idle connection of its would be counted */
        free(peer->data);
        peer->data = NULL;
    }
}

static void welcome(int epoll, int listener) {
    int fd = accept4(listener, NULL, NULL, 0), one = 1;
    if (fd < 0 || fd >= MAX_FDS) return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    peers[fd].place = -1;
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN, .data.fd = fd});
}

int main(int count, char **words) {
    if (count != 3) die("usage: floor PORT SOURCE_PORT");
    int listener = bound(SOCK_STREAM, atoi(words[1])), source = bound(SOCK_DGRAM, atoi(words[2]));
    int epoll = epoll_create1(0);
    puts("ready");
    fflush(stdout);
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &(struct epoll_event){.events = EPOLLIN, .data.fd = listener});
    epoll_ctl(epoll, EPOLL_CTL_ADD, source, &(struct epoll_event){.events = EPOLLIN, .data.fd = source});
    for (;;) {
        struct epoll_event ready[256];
        int n = epoll_wait(epoll, ready, 256, -1);
        for (int i = 0; i < n; i++) {
            int fd = ready[i].data.fd;
            if (fd == listener) welcome(epoll, listener);
            else if (fd == source) produce(source);
            else hear(fd);
        }
    }
}
