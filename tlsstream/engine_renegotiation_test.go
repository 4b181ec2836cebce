package tlsstream_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"testing"

	"github.com/deferredtls/deferredtls/tlsstream"
)

// A TLS 1.2 server may ask for a renegotiation. That is a handshake inside Read,
// which an engine could only answer with ErrWantRead for ever; so it is refused
// with an alert, whatever the configuration says.
func TestEngineRefusesRenegotiation(t *testing.T) {
	t.Parallel()
	var log keyLog
	clientConfig, serverConfig := ticketConfigs()
	clientConfig.Renegotiation = tls.RenegotiateFreelyAsClient
	serverConfig.MaxVersion = tls.VersionTLS12
	serverConfig.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
	serverConfig.KeyLogWriter = &log

	client, server := tlsstream.NewClientEngine(clientConfig), tlsstream.NewServerEngine(serverConfig)
	defer client.Close()
	defer server.Close()
	client.Handshake()
	hello := takeAll(client)
	server.Feed(hello)
	server.Handshake()
	serverHello := takeAll(server)
	client.Feed(serverHello)
	joinEngines(t, client, server, everything)

	// In both hellos the random is at the same place: behind the headers of
	// record (5) and message (4) and the version (2).
	clientRandom, serverRandom := hello[11:43], serverHello[11:43]
	helloRequest := []byte{0, 0, 0, 0} // RFC 5246 7.4.1.1
	record := sealTLS12(t, log.secrets["CLIENT_RANDOM"], clientRandom, serverRandom, helloRequest)
	if _, err := client.Feed(record); err != nil {
		t.Fatal(err)
	}
	n, err := client.Read(make([]byte, 1))
	if n != 0 || err == nil || err == tlsstream.ErrWantRead {
		t.Fatalf("Read of a HelloRequest: %d, %v", n, err)
	}
	server.Feed(takeAll(client))
	if _, err := server.Read(make([]byte, 1)); err != tlsstream.ErrWantRead {
		// A warning alert: TLS 1.2 goes on after it.
		t.Errorf("the server reads %v", err)
	}
	if got := client.Stats().Alerts; got != 1 {
		t.Errorf("the client wrote %d alerts, want no_renegotiation", got)
	}
}

// sealTLS12 seals the server's second record, a handshake message, under
// TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 (RFC 5246 6.3, RFC 5288 3).
func sealTLS12(t *testing.T, master, clientRandom, serverRandom, content []byte) []byte {
	t.Helper()
	seed := append([]byte("key expansion"), serverRandom...)
	seed = append(seed, clientRandom...)
	mac := func(parts ...[]byte) []byte {
		h := hmac.New(sha256.New, master)
		for _, p := range parts {
			h.Write(p)
		}
		return h.Sum(nil)
	}
	var keys []byte
	for a := mac(seed); len(keys) < 40; a = mac(a) {
		keys = append(keys, mac(a, seed)...)
	}
	serverKey, serverIV := keys[16:32], keys[36:40]
	block, err := aes.NewCipher(serverKey)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	sequence := make([]byte, 8)
	binary.BigEndian.PutUint64(sequence, 1) // Finished had 0
	header := []byte{typeHandshake, 3, 3}
	length := binary.BigEndian.AppendUint16(nil, uint16(len(content)))
	additional := append(append(sequence[:8:8], header...), length...)
	record := binary.BigEndian.AppendUint16(header, uint16(8+len(content)+aead.Overhead()))
	record = append(record, sequence...)
	return aead.Seal(record, append(serverIV[:4:4], sequence...), content, additional)
}
