package tlstest

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
)

// WriteFiles writes ca.pem, server.pem and server-key.pem into dir, with a certificate from [CA.Server], and returns
// their paths.
func (ca *CA) WriteFiles(dir string) (caFile, certFile, keyFile string, err error) {
	caFile = filepath.Join(dir, "ca.pem")
	if err := writePEM(caFile, "CERTIFICATE", ca.Cert.Raw); err != nil {
		return "", "", "", err
	}
	certFile, keyFile, err = WriteCertificate(dir, "server", ca.Server())
	return caFile, certFile, keyFile, err
}

// WriteCertificate writes NAME.pem, the whole chain, and NAME-key.pem, as PKCS #8, into dir, and returns their paths.
func WriteCertificate(dir, name string, cert tls.Certificate) (certFile, keyFile string, err error) {
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return "", "", err
	}
	certFile = filepath.Join(dir, name+".pem")
	keyFile = filepath.Join(dir, name+"-key.pem")
	if err := writePEM(certFile, "CERTIFICATE", cert.Certificate...); err != nil {
		return "", "", err
	}
	if err := writePEM(keyFile, "PRIVATE KEY", key); err != nil {
		return "", "", err
	}
	return certFile, keyFile, nil
}

func writePEM(file, kind string, blocks ...[]byte) error {
	var text []byte
	for _, der := range blocks {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})...)
	}
	return os.WriteFile(file, text, 0o600)
}
