/* Texts to many sockets; see sending.py, which does the same where this could not be compiled. */
#include <sys/socket.h>

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
