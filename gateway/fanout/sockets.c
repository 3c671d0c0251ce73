/* Texts to and from many sockets; see sending.py and sessions/intake.py, which do the same where this could not be
 * compiled. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#ifdef __linux__
#include <sys/epoll.h>
#endif

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* Python ignores SIGPIPE */
#endif

/* How many of the `count` sockets did not take all of it; `taken` says of each how many bytes it took. */
int send_each(const int *fds, int *taken, int count, const char *data, int size) {
    int cut = 0;
    for (int i = 0; i < count; i++) {
        ssize_t got = send(fds[i], data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        taken[i] = got < 0 ? 0 : (int)got;
        cut += got != size;
    }
    return cut;
}

/* To each of the `count` sockets its own piece of `data`, in which they stand one behind the other. How many did not
 * take all of theirs; `sizes` then says of each how many bytes it took. */
int send_pieces(const int *fds, int *sizes, int count, const char *data) {
    int cut = 0;
    for (int i = 0; i < count; i++) {
        ssize_t got = send(fds[i], data, sizes[i], MSG_DONTWAIT | MSG_NOSIGNAL);
        cut += got != sizes[i];
        data += sizes[i];
        sizes[i] = got < 0 ? 0 : (int)got;
    }
    return cut;
}

#ifdef __linux__
enum { BYTES, TEXT, END, PING }; /* what came, or less than 0: an error's number */
enum { WHOLE_TEXT = 0x81, MASKED = 0x80, MOST = 125, MASK = 2, HEAD = 6, MOST_ID = 64 };

/* How long the text is that the `size` bytes at `came` are, where they are one short frame and nothing else: it stands
 * at `came` then, unmasked, and what it was masked by in `key`. Else -1, and nothing was done. */
static int lone_text(unsigned char *came, int size, unsigned *key) {
    int length = size - HEAD;
    if (length < 0 || length > MOST || came[0] != WHOLE_TEXT || came[1] != (MASKED | length))
        return -1;
    unsigned char mask[4] = {came[MASK], came[MASK + 1], came[MASK + 2], came[MASK + 3]};
    *key = (unsigned)mask[0] << 24 | mask[1] << 16 | mask[2] << 8 | mask[3];
    for (int i = 0; i < length; i++)
        came[i] = came[HEAD + i] ^ mask[i & 3];
    return length;
}

/* In which of so many forms the `length` bytes at `text` write a ping, -1 for none: `around` has what stands before the id
 * and what behind, of each. The id stands at `text` then, and `length` is its. */
static int ping_form(unsigned char *text, int *length, const char *const *around, int forms) {
    for (int form = 0; form < forms; form++, around += 2) {
        int before = strlen(around[0]), after = strlen(around[1]), size = *length - before - after;
        if (size < 1 || size > MOST_ID || memcmp(text, around[0], before) || memcmp(text + before + size, around[1], after))
            continue;
        for (int at = before; at < before + size; at++)
            if (text[at] < ' ' || text[at] > '~' || text[at] == '"' || text[at] == '\\')
                return -1;
        memmove(text, text + before, size);
        *length = size;
        return form;
    }
    return -1;
}

/* What has come at `most` of the sockets that `epoll` watches, and not more than `piece` bytes of each, one behind the
 * other in `room`, which has room for that. How many had anything: `fds` says who, `kinds` what, `ends` where it ends, and
 * `masks` what a text was masked by; of a ping there is only its id (see `ping_form`). */
int read_ready(int epoll, int most, int piece, int *fds, int *kinds, int *ends, unsigned *masks, unsigned char *room,
               const char *const *around, int forms) {
    struct epoll_event ready[most];
    int count = epoll_wait(epoll, ready, most, 0), told = 0, at = 0;
    for (int i = 0; i < count; i++) {
        int size = (int)recv(ready[i].data.fd, room + at, piece, MSG_DONTWAIT);
        if (size < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        int length = lone_text(room + at, size, masks + told);
        int form = length < 0 ? -1 : ping_form(room + at, &length, around, forms);
        kinds[told] = size < 0 ? -errno : size == 0 ? END : length < 0 ? BYTES : form < 0 ? TEXT : PING + form;
        at += length >= 0 ? length : size > 0 ? size : 0;
        fds[told] = ready[i].data.fd;
        ends[told++] = at;
    }
    return told;
}
#endif
