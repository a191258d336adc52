/* A device without Python: y = tanh(h) V, h = tanh(x W + h U), 8 units, served over pipes.
     cc -O2 -o device device.c -lm          perturbax run --device ./device --task ...
   What the frames hold is in docs/devices.md; only stored members are read, as the trainer sends them. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define LIMIT (1u << 26)
enum { UNITS = 8 };
static uint8_t in[LIMIT], out[LIMIT], dir[2048];   /* the frame read, the frame written, its directory */
static size_t n, d, members;                       /* bytes of the latter two, and members in them */
static double W[64 * UNITS], U[UNITS * UNITS], V[UNITS * 64];

static void put(uint8_t *to, size_t *at, uint64_t value, int bytes) {
    for (; bytes--; value >>= 8) to[(*at)++] = (uint8_t)value;
}
static uint64_t get(const uint8_t *p, int bytes) { return bytes ? *p | get(p + 1, bytes - 1) << 8 : 0; }
static uint32_t crc32(const uint8_t *p, size_t size) {
    uint32_t c = ~0u;
    for (; size--; p++) for (int k = (c ^= *p, 0); k < 8; k++) c = c >> 1 ^ (c & 1 ? 0xEDB88320u : 0);
    return ~c;
}
static void member(const char *name, const char *kind, const char *shape, const void *numbers, size_t size) {
    char head[128]; size_t at = n, names = strlen(name), data = n + 30 + names;
    int padded = snprintf(head, 118, "{'descr': '%s', 'fortran_order': False, 'shape': %s, }", kind, shape);
    memset(head + padded, ' ', 117 - padded); head[117] = '\n';
    memcpy(out + data, "\x93NUMPY\1\0v\0", 10); memcpy(out + data + 10, head, 118);
    memcpy(out + data + 128, numbers, size); size += 128;
    uint32_t sum = crc32(out + data, size);
    for (int central = 0; central < 2; central++) {  /* the same entry before the member and in the directory */
        uint8_t *to = central ? dir : out; size_t *end = central ? &d : &n;
        put(to, end, central ? 0x02014b50 : 0x04034b50, 4); if (central) put(to, end, 20, 2);
        put(to, end, 20, 2); put(to, end, 0, 8); put(to, end, sum, 4); put(to, end, size, 4); put(to, end, size, 4);
        put(to, end, names, 2); put(to, end, 0, 2); if (central) { put(to, end, 0, 10); put(to, end, at, 4); }
        memcpy(to + *end, name, names); *end += names;
    }
    n += size; members++;
}
static void answer(const char *json) {
    char shape[32]; snprintf(shape, 32, "(%zu,)", strlen(json)); member("_.npy", "|u1", shape, json, strlen(json));
    size_t at = n; memcpy(out + n, dir, d); n += d;
    put(out, &n, 0x06054b50, 4); put(out, &n, 0, 4); put(out, &n, members | members << 16, 4);
    put(out, &n, d, 4); put(out, &n, at, 4); put(out, &n, 0, 2);
    uint8_t length[8]; size_t first = 0; put(length, &first, n, 8);
    fwrite(length, 1, 8, stdout); fwrite(out, 1, n, stdout); fflush(stdout); n = d = members = 0;
}
static const uint8_t *find(const char *name, size_t *size, long shape[3], int *wide) {  /* numbers of a member */
    for (const uint8_t *p = in; !memcmp(p, "PK\3\4", 4);) {
        size_t names = get(p + 26, 2); const uint8_t *npy = p + 30 + names + get(p + 28, 2), *head = npy + 10;
        if (names == strlen(name) && !memcmp(p + 30, name, names)) {
            char *s = strchr(strstr((const char *)head, "'shape'"), '(') + 1; *wide = head[13] == '8';
            for (int i = 0; i < 3; i++, s += *s == ',') shape[i] = strtol(s, &s, 10);
            *size = get(p + 22, 4) - 10 - get(npy + 8, 2); return head + get(npy + 8, 2);
        }
        p = npy + get(p + 22, 4);
    }
    return NULL;
}
static double number(const uint8_t *p, size_t i, int wide) {
    float f; double x; if (wide) return memcpy(&x, p + 8 * i, 8), x;
    return memcpy(&f, p + 4 * i, 4), f;
}
static void keep(const char *name, double *to, size_t count) {
    size_t size; long shape[3]; int wide; const uint8_t *p = find(name, &size, shape, &wide);
    for (size_t i = 0; p && i < count; i++) to[i] = number(p, i, wide);
}
static void run(int n_in, int n_out) {
    size_t size; long s[3]; int wide; const uint8_t *x = find("inputs.npy", &size, s, &wide);
    if (!x || s[0] * s[1] * n_out * 8 > (long)LIMIT / 2) { answer("{\"error\": \"no inputs, or too many trials\"}"); return; }
    double *y = malloc(s[0] * s[1] * n_out * 8);
    for (long b = 0; b < s[1]; b++) {
        double h[UNITS] = {0}, a[UNITS];                                               /* from rest */
        for (long t = 0; t < s[0]; t++) {
            for (int j = 0; j < UNITS; j++) {
                a[j] = 0;
                for (int i = 0; i < n_in; i++) a[j] += number(x, (t * s[1] + b) * n_in + i, wide) * W[i * UNITS + j];
                for (int i = 0; i < UNITS; i++) a[j] += h[i] * U[i * UNITS + j];
            }
            for (int j = 0; j < UNITS; j++) h[j] = tanh(a[j]);
            for (int k = 0; k < n_out; k++) {
                double sum = 0;
                for (int i = 0; i < UNITS; i++) sum += h[i] * V[i * n_out + k];
                y[(t * s[1] + b) * n_out + k] = sum;
            }
        }
    }
    char shape[64]; snprintf(shape, 64, "(%ld, %ld, %d)", s[0], s[1], n_out);
    member("outputs.npy", "<f8", shape, y, s[0] * s[1] * n_out * 8); answer("{}"); free(y);
}
int main(void) {
    int n_in = 0, n_out = 0;
    for (uint8_t head[8]; fread(head, 1, 8, stdin) == 8;) {
        size_t length = get(head, 8), size; long shape[3]; int wide; char said[1024], text[900];
        if (length >= LIMIT || fread(in, 1, length, stdin) != length) return 1;
        const uint8_t *json = find("_.npy", &size, shape, &wide);
        if (!json || size >= sizeof said) { answer("{\"error\": \"no object _\"}"); continue; }
        memcpy(said, json, size); said[size] = 0;
        if (strstr(said, "\"op\": \"hello\"")) {
            n_in = atoi(strstr(said, "\"inputs\":") + 9); n_out = atoi(strstr(said, "\"outputs\":") + 10);
            if (n_in > 64 || n_out > 64) { answer("{\"error\": \"at most 64 inputs and outputs\"}"); continue; }
            snprintf(text, sizeof text, "{\"version\": 1, \"name\": \"C\", \"inputs\": %d, \"outputs\": %d, \"noise\": \"none\","
                     "\"weights\": {\"W\": {\"shape\": [%d, 8]}, \"U\": {\"shape\": [8, 8]}, \"V\": {\"shape\": [8, %d]}}}",
                     n_in, n_out, n_in, n_out);
            answer(text);
        } else if (strstr(said, "\"op\": \"write\"")) {
            keep("W.npy", W, n_in * UNITS); keep("U.npy", U, UNITS * UNITS); keep("V.npy", V, UNITS * n_out);
            char shape_of[3][32]; snprintf(shape_of[0], 32, "(%d, 8)", n_in); snprintf(shape_of[1], 32, "(8, %d)", n_out);
            member("W.npy", "<f8", shape_of[0], W, n_in * UNITS * 8); member("U.npy", "<f8", "(8, 8)", U, sizeof U);
            member("V.npy", "<f8", shape_of[1], V, UNITS * n_out * 8); answer("{\"held\": true}");
        } else if (strstr(said, "\"op\": \"run\"")) run(n_in, n_out);
        else { answer("{}"); if (strstr(said, "\"op\": \"bye\"")) return 0; }
    }
    return 0;
}
