// What peer.c asks of a TLS library. Every function ends the process with die when it fails, unless it says otherwise.
#include <stddef.h>

struct options {
    const char *ca, *cert, *key; // PEM files; cert and key are NULL without a client certificate
};

void die(const char *what, const char *why);

void tls_connect(int fd, const struct options *o); // TLS 1.3 only; verifies that the server is localhost
void tls_write(const char *p, size_t n);
size_t tls_read(char *p, size_t n); // 0 at close_notify; a bare FIN is a failure
void tls_update(void);              // KeyUpdate(update_requested), at the latest with the next write
void tls_shutdown(void);            // close_notify, once; does not wait for the peer's
