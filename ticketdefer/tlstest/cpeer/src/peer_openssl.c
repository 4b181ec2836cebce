#include <openssl/err.h>
#include <openssl/ssl.h>

#include "peer.h"

static SSL *ssl;

static void fail(const char *what, int ret)
{
    char why[256];
    unsigned long code = ERR_get_error();
    if (code)
        ERR_error_string_n(code, why, sizeof why);
    else
        snprintf(why, sizeof why, "SSL_get_error %d", SSL_get_error(ssl, ret));
    die(what, why);
}

void tls_connect(int fd, const struct options *o)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    int ret;
    SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    if (SSL_CTX_load_verify_locations(ctx, o->ca, NULL) != 1)
        die("load", o->ca);
    if (o->cert && (SSL_CTX_use_certificate_chain_file(ctx, o->cert) != 1 ||
                    SSL_CTX_use_PrivateKey_file(ctx, o->key, SSL_FILETYPE_PEM) != 1))
        die("load", o->cert);
    ssl = SSL_new(ctx);
    SSL_set_tlsext_host_name(ssl, "localhost");
    SSL_set1_host(ssl, "localhost");
    SSL_set_fd(ssl, fd);
    if ((ret = SSL_connect(ssl)) != 1)
        fail("SSL_connect", ret);
}

void tls_write(const char *p, size_t n)
{
    int ret = SSL_write(ssl, p, (int)n); // blocking, without partial writes: all or an error
    if (ret != (int)n)
        fail("SSL_write", ret);
}

size_t tls_read(char *p, size_t n)
{
    int ret = SSL_read(ssl, p, (int)n);
    if (ret > 0)
        return (size_t)ret;
    if (SSL_get_error(ssl, ret) != SSL_ERROR_ZERO_RETURN)
        fail("SSL_read", ret);
    return 0;
}

// OpenSSL sends it at the next SSL_write (SSL_key_update(3)).
void tls_update(void)
{
    int ret = SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED);
    if (ret != 1)
        fail("SSL_key_update", ret);
}

void tls_shutdown(void)
{
    int ret = SSL_shutdown(ssl); // 0: sent, the peer's has not come
    if (ret < 0)
        fail("SSL_shutdown", ret);
}
