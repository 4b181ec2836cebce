#include <gnutls/gnutls.h>
#include <stdbool.h>

#include "peer.h"

static gnutls_session_t session;

static bool again(int ret)
{
    return ret == GNUTLS_E_AGAIN || ret == GNUTLS_E_INTERRUPTED;
}

static void check(const char *what, int ret)
{
    if (ret < 0)
        die(what, gnutls_strerror(ret));
}

void tls_connect(int fd, const struct options *o)
{
    gnutls_certificate_credentials_t credentials;
    int ret;
    check("credentials", gnutls_certificate_allocate_credentials(&credentials));
    check(o->ca, gnutls_certificate_set_x509_trust_file(credentials, o->ca, GNUTLS_X509_FMT_PEM));
    if (o->cert)
        check(o->cert, gnutls_certificate_set_x509_key_file(credentials, o->cert, o->key, GNUTLS_X509_FMT_PEM));
    check("init", gnutls_init(&session, GNUTLS_CLIENT));
    check("priority", gnutls_priority_set_direct(session, "NORMAL:-VERS-ALL:+VERS-TLS1.3", NULL));
    check("credentials", gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials));
    check("name", gnutls_server_name_set(session, GNUTLS_NAME_DNS, "localhost", 9));
    gnutls_session_set_verify_cert(session, "localhost", 0);
    gnutls_transport_set_int(session, fd);
    do
        ret = gnutls_handshake(session);
    while (again(ret));
    check("gnutls_handshake", ret);
}

void tls_write(const char *p, size_t n)
{
    while (n > 0) {
        ssize_t ret = gnutls_record_send(session, p, n);
        if (again((int)ret))
            continue;
        check("gnutls_record_send", (int)ret);
        p += ret;
        n -= (size_t)ret;
    }
}

size_t tls_read(char *p, size_t n)
{
    ssize_t ret;
    do
        ret = gnutls_record_recv(session, p, n); // GNUTLS_E_AGAIN after each ticket or key update
    while (again((int)ret));
    check("gnutls_record_recv", (int)ret);
    return (size_t)ret;
}

void tls_update(void)
{
    int ret;
    do
        ret = gnutls_session_key_update(session, GNUTLS_KU_PEER);
    while (again(ret));
    check("gnutls_session_key_update", ret);
}

void tls_shutdown(void)
{
    int ret;
    do
        ret = gnutls_bye(session, GNUTLS_SHUT_WR);
    while (again(ret));
    check("gnutls_bye", ret);
}
