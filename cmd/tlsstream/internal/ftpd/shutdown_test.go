package ftpd

import (
	"context"
	"io"
	"net"
	"slices"
	"testing"
	"time"
)

// shutdown calls Shutdown in the background.
func (s *testServer) shutdown(grace time.Duration) (unfinished chan []string) {
	unfinished = make(chan []string, 1)
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	go func() {
		defer cancel()
		unfinished <- s.Shutdown(ctx)
	}()
	return unfinished
}

// awaitStopping waits until Shutdown has begun.
func (s *testServer) awaitStopping(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		stopping := s.stopping
		s.mu.Unlock()
		if stopping {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("Shutdown does not begin")
		}
	}
}

func TestShutdownLetsUploadsFinish(t *testing.T) {
	content := randomBytes(100_000)
	s := startServer(t, nil)
	idle := loginRaw(t, s)
	c := loginRaw(t, s)
	data, _ := c.store("name")
	if _, err := data.Write(content[:50_000]); err != nil {
		t.Fatal(err)
	}
	s.awaitSome(t, "name.partial")
	unfinished := s.shutdown(rawTimeout)
	if _, err := idle.text.ReadLine(); err == nil {
		t.Error("a session without a transfer got a line")
	}
	if _, err := data.Write(content[50_000:]); err != nil {
		t.Fatal(err)
	}
	data.Close()
	c.expect(226)
	if s.has(t, "name") != sum(content) {
		t.Error("the upload is not there")
	}
	// Who wants to go on is told, and has a moment to leave.
	c.passive()
	c.command(550, "STOR another")
	c.command(221, "QUIT")
	if names := <-unfinished; len(names) > 0 {
		t.Errorf("unfinished: %q", names)
	}
	s.awaitIdle(t)
}

func TestShutdownReportsUploadsThatDoNotFinish(t *testing.T) {
	s := startServer(t, nil)
	c := loginRaw(t, s)
	data, _ := c.store("name")
	if _, err := data.Write(randomBytes(50_000)); err != nil {
		t.Fatal(err)
	}
	s.awaitSome(t, "name.partial")
	if names := <-s.shutdown(100 * time.Millisecond); !slices.Equal(names, []string{"/name"}) {
		t.Errorf("unfinished: %q", names)
	}
	s.awaitIdle(t)
	if s.has(t, "name") != "" || s.has(t, "name.partial") == "" {
		t.Error("the upload is not kept as .partial")
	}
	s.log.await(t, `msg="upload failed, what came is kept"`, 1)
}

// A client that stays after its last upload does not keep the server up.
func TestShutdownDoesNotWaitForIdleClients(t *testing.T) {
	s := startServer(t, nil)
	c := loginRaw(t, s)
	data, _ := c.store("name")
	unfinished := s.shutdown(rawTimeout)
	s.awaitStopping(t)
	data.Close()
	c.expect(226)
	begun := time.Now()
	if names := <-unfinished; len(names) > 0 {
		t.Errorf("unfinished: %q", names)
	}
	if took := time.Since(begun); took > rawTimeout/2 {
		t.Errorf("it took %v", took)
	}
}

// Nor does one whose last transfer never had a data connection.
func TestShutdownDoesNotWaitForARefusedTransfer(t *testing.T) {
	s := startServer(t, nil)
	c := loginRaw(t, s)
	c.command(550, "STOR name")
	s.log.await(t, `msg="upload failed`, 1)
	begun := time.Now()
	<-s.shutdown(rawTimeout)
	if took := time.Since(begun); took > rawTimeout/2 {
		t.Errorf("it took %v", took)
	}
}

// A connection that was accepted when Shutdown began is none of its business.
func TestConnectionThatComesTooLateIsClosed(t *testing.T) {
	s := startServer(t, nil)
	<-s.shutdown(rawTimeout)
	client, server := net.Pipe()
	defer client.Close()
	s.admit(server, false)
	client.SetDeadline(time.Now().Add(rawTimeout))
	if _, err := client.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("it is open: %v", err)
	}
	s.awaitIdle(t)
}
