// A TLS client that does what its arguments say, in that order, and nothing else: above all it reads only if told to.
//
//   peer PORT CAFILE [/CERTFILE /KEYFILE] [-sndbuf BYTES] [-rcvbuf BYTES] OP...
//
//   write N     write N bytes of the pattern: byte i of all that is written is i % 251
//   copy        write what standard input holds, to its end
//   every N     from here on, ask for a key update after every N bytes written; 0 stops
//   update      ask for a key update before the next write
//   read N      read N bytes and check them against the pattern, which starts anew for this direction
//   eof         read to the server's close_notify
//   shutdown    send close_notify
//
// At the end it closes the socket, with whatever lies unread in it. It exits with 0 if nothing failed.

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "peer.h"

#define PERIOD 251
#define CHUNK (64 * 1024)

static char pattern[CHUNK + PERIOD];
static unsigned long long written, checked, every, until_update;

void die(const char *what, const char *why)
{
    fprintf(stderr, "peer: %s after %llu bytes written, %llu read: %s\n", what, written, checked, why);
    exit(1);
}

// write_part writes some of the n bytes at p, and returns how many.
static size_t write_part(const char *p, size_t n)
{
    if (every && n > until_update)
        n = until_update;
    tls_write(p, n);
    written += n;
    if (every && (until_update -= n) == 0) {
        until_update = every;
        tls_update();
    }
    return n;
}

static void write_pattern(unsigned long long n)
{
    while (n > 0)
        n -= write_part(pattern + written % PERIOD, n < CHUNK ? n : CHUNK);
}

static void copy_stdin(void)
{
    static char buf[CHUNK];
    ssize_t got;
    while ((got = read(STDIN_FILENO, buf, CHUNK)) > 0)
        for (ssize_t done = 0; done < got;)
            done += (ssize_t)write_part(buf + done, (size_t)(got - done));
    if (got < 0)
        die("copy", "standard input");
}

static void read_pattern(unsigned long long n)
{
    static char buf[CHUNK];
    while (n > 0) {
        size_t got = tls_read(buf, n < CHUNK ? n : CHUNK);
        if (got == 0)
            die("read", "close_notify");
        if (memcmp(buf, pattern + checked % PERIOD, got) != 0)
            die("read", "not the pattern");
        checked += got;
        n -= got;
    }
}

static void set_buffer(int fd, int which, const char *bytes)
{
    int n = atoi(bytes);
    if (setsockopt(fd, SOL_SOCKET, which, &n, sizeof n) != 0)
        die("setsockopt", bytes);
}

int main(int argc, char **argv)
{
    struct options o = {0};
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    char **op = argv + 3;

    for (size_t i = 0; i < sizeof pattern; i++)
        pattern[i] = (char)(i % PERIOD);
    signal(SIGPIPE, SIG_IGN);

    if (argc < 3 || fd < 0)
        die("start", "want PORT and CAFILE");
    server.sin_port = htons((unsigned short)atoi(argv[1]));
    o.ca = argv[2];
    if (op[0] && op[1] && op[0][0] == '/') {
        o.cert = *op++;
        o.key = *op++;
    }
    for (; op[0] && op[1] && op[0][0] == '-'; op += 2)
        set_buffer(fd, strcmp(op[0], "-sndbuf") == 0 ? SO_SNDBUF : SO_RCVBUF, op[1]);
    if (connect(fd, (struct sockaddr *)&server, sizeof server) != 0)
        die("connect", argv[1]);
    tls_connect(fd, &o);

    for (; *op; op++) {
        if (strcmp(*op, "update") == 0) {
            tls_update();
        } else if (strcmp(*op, "shutdown") == 0) {
            tls_shutdown();
        } else if (strcmp(*op, "copy") == 0) {
            copy_stdin();
        } else if (strcmp(*op, "eof") == 0) {
            char c;
            if (tls_read(&c, 1) != 0)
                die("eof", "more data");
        } else if (!op[1]) {
            die(*op, "no such operation, or its argument is missing");
        } else if (strcmp(*op, "write") == 0) {
            write_pattern(strtoull(*++op, NULL, 10));
        } else if (strcmp(*op, "every") == 0) {
            every = until_update = strtoull(*++op, NULL, 10);
        } else if (strcmp(*op, "read") == 0) {
            read_pattern(strtoull(*++op, NULL, 10));
        } else {
            die(*op, "no such operation");
        }
    }
    close(fd);
    return 0;
}
