/* What the load and the floor share: a WebSocket's handshake and frames (RFC 6455), clocks, and a process's CPU. */
#ifndef WEBSOCKET_H
#define WEBSOCKET_H

#define _GNU_SOURCE
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

__attribute__((unused)) static void die(const char *what) {
    perror(what);
    exit(1);
}

__attribute__((unused)) static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ns on a core that the threads of `pid` have had; what a thread had that has ended is not in it. */
__attribute__((unused)) static int64_t cpu_ns(int pid) {
    char path[300];
    int64_t sum = 0;
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    if (!tasks) return 0;
    for (struct dirent *task; (task = readdir(tasks));) {
        long long ran;
        snprintf(path, sizeof path, "/proc/%d/task/%.20s/schedstat", pid, task->d_name);
        FILE *file = task->d_name[0] == '.' ? NULL : fopen(path, "r");
        if (!file) continue;
        if (fscanf(file, "%lld", &ran) == 1) sum += ran;
        fclose(file);
    }
    closedir(tasks);
    return sum;
}

/* --- frames */

struct frame {
    int opcode;
    char *payload;
    size_t length, whole; /* bytes of the payload, and of all of the frame */
};

/* The frame at the start of `data`, unmasked in place; 0 where it is not all there. */
static int read_frame(char *data, size_t have, struct frame *frame) {
    uint8_t *bytes = (uint8_t *)data;
    if (have < 2) return 0;
    size_t length = bytes[1] & 127, header = 2;
    if (length == 126) {
        if (have < 4) return 0;
        length = (size_t)bytes[2] << 8 | bytes[3];
        header = 4;
    } else if (length == 127) {
        if (have < 10) return 0;
        length = 0;
        for (int i = 2; i < 10; i++) length = length << 8 | bytes[i];
        header = 10;
    }
    uint8_t *mask = bytes[1] & 128 ? bytes + header : NULL;
    if (mask) header += 4;
    if (have < header + length) return 0;
    for (size_t i = 0; mask && i < length; i++) bytes[header + i] ^= mask[i & 3];
    *frame = (struct frame){bytes[0] & 15, data + header, length, header + length};
    return 1;
}

/* Writes a final frame to `out`, which has 14 bytes more than `length`; its size. A client's is masked (by zeros:
   what masking is for is not here). */
static size_t write_frame(char *out, int opcode, const char *payload, size_t length, int is_client) {
    uint8_t *bytes = (uint8_t *)out;
    size_t header = 2;
    bytes[0] = 0x80 | opcode;
    if (length < 126) {
        bytes[1] = length;
    } else {
        bytes[1] = 126;
        bytes[2] = length >> 8;
        bytes[3] = length;
        header = 4;
    }
    if (is_client) {
        bytes[1] |= 128;
        memset(bytes + header, 0, 4);
        header += 4;
    }
    memcpy(bytes + header, payload, length);
    return header + length;
}

/* --- the handshake's answer to a key: base64(SHA-1(key + GUID)) */

static uint32_t rotated(uint32_t x, int by) { return x << by | x >> (32 - by); }

static void sha1_block(uint32_t state[5], const uint8_t *block) {
    uint32_t w[80], v[5];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[i * 4] << 24 | block[i * 4 + 1] << 16 | block[i * 4 + 2] << 8 | block[i * 4 + 3];
    for (int i = 16; i < 80; i++) w[i] = rotated(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    memcpy(v, state, sizeof v);
    for (int i = 0; i < 80; i++) {
        uint32_t mix = i < 20   ? ((v[1] & v[2]) | (~v[1] & v[3])) + 0x5A827999
                       : i < 40 ? (v[1] ^ v[2] ^ v[3]) + 0x6ED9EBA1
                       : i < 60 ? ((v[1] & v[2]) | (v[1] & v[3]) | (v[2] & v[3])) + 0x8F1BBCDC
                                : (v[1] ^ v[2] ^ v[3]) + 0xCA62C1D6;
        uint32_t next = rotated(v[0], 5) + mix + v[4] + w[i];
        v[4] = v[3], v[3] = v[2], v[2] = rotated(v[1], 30), v[1] = v[0], v[0] = next;
    }
    for (int i = 0; i < 5; i++) state[i] += v[i];
}

/* `accept` has room for 29 characters. A key has 24, so with the GUID and what SHA-1 appends it is two blocks. */
__attribute__((unused)) static void accept_of(const char *key, char *accept) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t state[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
    uint8_t data[128] = {0}, hash[21] = {0};
    memcpy(data, key, 24);
    memcpy(data + 24, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11\x80", 37);
    data[126] = 60 * 8 >> 8;
    data[127] = 60 * 8 & 255;
    sha1_block(state, data);
    sha1_block(state, data + 64);
    for (int i = 0; i < 20; i++) hash[i] = state[i / 4] >> (24 - i % 4 * 8);
    for (int i = 0; i < 7; i++) {
        uint32_t three = hash[i * 3] << 16 | hash[i * 3 + 1] << 8 | hash[i * 3 + 2];
        for (int j = 0; j < 4; j++) accept[i * 4 + j] = digits[three >> (18 - j * 6) & 63];
    }
    accept[27] = '=';
    accept[28] = 0;
}

#endif
