package main

import (
	"crypto/x509"
	"fmt"
	"os"
)

// readPool reads the certificates that a flag names.
func readPool(flag, file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, &usageError{fmt.Sprintf("cannot read %s: %v", flag, err), "it wants a PEM file of certificates"}
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, &usageError{fmt.Sprintf("%s %s has no certificate in it", flag, file), "it wants a PEM file of certificates"}
	}
	return pool, nil
}
