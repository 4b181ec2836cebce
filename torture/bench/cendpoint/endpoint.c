// An endpoint of package bench on OpenSSL: it speaks the protocol that wire.go describes, for the kinds one-way and
// ping-pong. OpenSSL has its defaults but for the cipher suite, and sockets have TCP_NODELAY, as Go's have.

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LANES 64
#define READ_BYTES (64 * 1024)
#define TIMEOUT_SECONDS 20

struct conn {
    SSL *ssl;
    int fd;
    char *buf;
    size_t room;
    struct lane *lane;
    pthread_t thread;
};

struct lane {
    bool server;
    int listener;
    SSL_CTX *ctx;
    struct conn **conns;
    int n;

    // Of the slice under way.
    bool running, ping_pong;
    size_t size;
    long long count, wall, cpu;

    pthread_mutex_t mu;
    bool failed; // guarded by mu, with error
    char error[256];
};

static const char *dir;
static struct lane lanes[LANES];

static long long clock_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static long long cpu_now(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1000000000LL + (r.ru_utime.tv_usec + r.ru_stime.tv_usec) * 1000LL;
}

// fail keeps the first error of a lane and ends its connections, so that the other end notices. It returns false.
static bool fail(struct lane *l, const char *what)
{
    unsigned long code = ERR_get_error();
    char why[160] = "the connection ended or stood still";
    if (code)
        ERR_error_string_n(code, why, sizeof why);
    pthread_mutex_lock(&l->mu);
    if (!l->failed)
        snprintf(l->error, sizeof l->error, "%s: %s", what, why);
    l->failed = true;
    for (int i = 0; i < l->n; i++)
        shutdown(l->conns[i]->fd, SHUT_RDWR);
    pthread_mutex_unlock(&l->mu);
    return false;
}

static bool write_all(struct conn *c, const char *p, size_t n)
{
    return SSL_write(c->ssl, p, (int)n) == (int)n || fail(c->lane, "SSL_write"); // blocking: all or an error
}

static bool receive(struct conn *c, unsigned long long n)
{
    while (n > 0) {
        int got = SSL_read(c->ssl, c->buf, n < READ_BYTES ? (int)n : READ_BYTES);
        if (got <= 0)
            return fail(c->lane, "SSL_read");
        n -= (unsigned long long)got;
    }
    return true;
}

static bool read_message(struct conn *c, size_t n)
{
    for (size_t at = 0; at < n;) {
        int got = SSL_read(c->ssl, c->buf + at, (int)(n - at));
        if (got <= 0)
            return fail(c->lane, "SSL_read");
        at += (size_t)got;
    }
    return true;
}

// play is a thread: one connection's part of a slice.
static void *play(void *arg)
{
    struct conn *c = arg;
    struct lane *l = c->lane;
    if (l->ping_pong) {
        for (long long i = 0; i < l->count; i++) {
            if (!l->server && !write_all(c, c->buf, l->size))
                break;
            if (!read_message(c, l->size))
                break;
            if (l->server && !write_all(c, c->buf, l->size))
                break;
        }
    } else if (l->server) {
        if (receive(c, (unsigned long long)l->count * l->size))
            write_all(c, c->buf, 1);
    } else {
        long long i = 0;
        while (i < l->count && write_all(c, c->buf, l->size))
            i++;
        if (i == l->count)
            read_message(c, 1);
    }
    return NULL;
}

static void start(struct lane *l)
{
    l->running = true;
    for (int i = 0; i < l->n; i++) {
        struct conn *c = l->conns[i];
        size_t need = l->size > READ_BYTES ? l->size : READ_BYTES;
        if (c->room < need) {
            free(c->buf);
            c->buf = calloc(1, c->room = need);
        }
    }
    l->cpu = cpu_now();
    l->wall = clock_now();
    for (int i = 0; i < l->n; i++)
        pthread_create(&l->conns[i]->thread, NULL, play, l->conns[i]);
}

static void finish(struct lane *l)
{
    l->running = false;
    for (int i = 0; i < l->n; i++)
        pthread_join(l->conns[i]->thread, NULL);
    l->wall = clock_now() - l->wall;
    l->cpu = cpu_now() - l->cpu;
}

static void prepare_socket(int fd)
{
    struct timeval timeout = {.tv_sec = TIMEOUT_SECONDS};
    int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static bool make_context(struct lane *l)
{
    char ca[4096], cert[4096], key[4096];
    snprintf(ca, sizeof ca, "%s/ca.pem", dir);
    snprintf(cert, sizeof cert, "%s/server.pem", dir);
    snprintf(key, sizeof key, "%s/server-key.pem", dir);
    l->ctx = SSL_CTX_new(l->server ? TLS_server_method() : TLS_client_method());
    SSL_CTX_set_min_proto_version(l->ctx, TLS1_3_VERSION);
    if (SSL_CTX_set_ciphersuites(l->ctx, "TLS_AES_128_GCM_SHA256") != 1)
        return fail(l, "cipher suite");
    if (l->server)
        return (SSL_CTX_use_certificate_chain_file(l->ctx, cert) == 1 &&
                SSL_CTX_use_PrivateKey_file(l->ctx, key, SSL_FILETYPE_PEM) == 1) || fail(l, "certificate");
    SSL_CTX_set_verify(l->ctx, SSL_VERIFY_PEER, NULL);
    return SSL_CTX_load_verify_locations(l->ctx, ca, NULL) == 1 || fail(l, "certificate authority");
}

static bool listen_on(struct lane *l, int *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof a;
    l->server = true;
    l->listener = socket(AF_INET, SOCK_STREAM, 0);
    prepare_socket(l->listener);
    if (bind(l->listener, (struct sockaddr *)&a, sizeof a) != 0 || listen(l->listener, SOMAXCONN) != 0 ||
        getsockname(l->listener, (struct sockaddr *)&a, &size) != 0)
        return fail(l, "listen");
    *port = ntohs(a.sin_port);
    return make_context(l);
}

static bool connect_one(struct lane *l, int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((unsigned short)port)};
    struct conn *c = calloc(1, sizeof *c);
    char byte = 1;
    c->lane = l;
    c->fd = l->server ? accept(l->listener, NULL, NULL) : socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0)
        return fail(l, l->server ? "accept" : "socket");
    prepare_socket(c->fd);
    l->conns = realloc(l->conns, (size_t)(l->n + 1) * sizeof *l->conns);
    l->conns[l->n++] = c;
    c->ssl = SSL_new(l->ctx);
    SSL_set_fd(c->ssl, c->fd);
    if (l->server)
        return (SSL_accept(c->ssl) == 1 || fail(l, "SSL_accept")) && write_all(c, &byte, 1);
    SSL_set_tlsext_host_name(c->ssl, "localhost");
    SSL_set1_host(c->ssl, "localhost");
    if (connect(c->fd, (struct sockaddr *)&a, sizeof a) != 0)
        return fail(l, "connect");
    return (SSL_connect(c->ssl) == 1 || fail(l, "SSL_connect")) &&
           (SSL_read(c->ssl, &byte, 1) == 1 || fail(l, "SSL_read"));
}

int main(void)
{
    char line[512], op[32], kind[32], stack[128];
    int id, port, conns;
    size_t size;
    long long count;

    dir = getenv("TLSSTREAM_BENCH_ENDPOINT");
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_IGN); // of a terminal; the conductor ends this process
    signal(SIGTERM, SIG_IGN);
    for (int i = 0; i < LANES; i++)
        pthread_mutex_init(&lanes[i].mu, NULL);
    while (fgets(line, sizeof line, stdin)) {
        if (!dir || sscanf(line, "%31s %d %31s %127s %d %d %zu %lld", op, &id, kind, stack, &port, &conns, &size, &count) != 8 ||
            id < 0 || id >= LANES) {
            fprintf(stderr, "what is %s", line);
            return 1;
        }
        struct lane *l = &lanes[id];
        int listening = 0;
        long long wall = 0, cpu = 0;
        bool known = true;
        if (strcmp(op, "listen") == 0) {
            listen_on(l, &listening);
        } else if (strcmp(op, "accept") == 0 || strcmp(op, "dial") == 0) {
            if (l->ctx || make_context(l))
                while (conns-- > 0 && connect_one(l, port))
                    ;
        } else if (strcmp(op, "run") == 0 || strcmp(op, "start") == 0) {
            l->ping_pong = strcmp(kind, "ping-pong") == 0;
            known = l->ping_pong || strcmp(kind, "one-way") == 0;
            l->size = size;
            l->count = count;
            if (known && !l->failed)
                start(l);
        } else {
            known = strcmp(op, "finish") == 0;
        }
        if (l->running && strcmp(op, "start") != 0) {
            finish(l);
            wall = l->wall;
            cpu = l->cpu;
        }
        const char *error = !known ? "openssl cannot do this" : l->failed ? l->error : "";
        printf("{\"error\": \"%s\", \"port\": %d, \"wall\": %lld, \"cpu\": %lld}\n", error, listening, wall, cpu);
        fflush(stdout);
    }
    return 0;
}
