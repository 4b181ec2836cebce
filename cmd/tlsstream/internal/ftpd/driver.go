package ftpd

import (
	"crypto/tls"
	"errors"
	"net"
	"time"

	ftpserver "github.com/fclairamb/ftpserverlib"
)

// A driver answers the library for a session.
type driver struct {
	session  *session
	listener net.Listener
}

var _ ftpserver.MainDriverExtensionPassiveWrapper = (*driver)(nil)

func (d *driver) GetSettings() (*ftpserver.Settings, error) {
	config := &d.session.server.config
	settings := &ftpserver.Settings{
		Listener:    d.listener,
		Banner:      "tlsstream ftpd",
		PublicHost:  config.Passive.PublicIP,
		IdleTimeout: int((config.Idle + time.Second - 1) / time.Second),
		TLSRequired: ftpserver.MandatoryEncryption,
		// Active mode dials and calls tls.Server with no hook between, so the
		// layer cannot go below TLS there. With a hook it would still be a
		// server that connects to wherever a client says.
		DisableActiveMode: true,
		DisableSite:       true,
		// A client that says nothing wants its bytes as they are. RFC 959 says
		// ASCII, which rewrites the ends of lines.
		DefaultTransferType: ftpserver.TransferTypeBinary,
	}
	if d.session.implicit {
		settings.TLSRequired = ftpserver.ImplicitEncryption
	}
	if p := config.Passive; p.Last > 0 {
		settings.PassiveTransferPortRange = ftpserver.PortRange{Start: p.First, End: p.Last}
	}
	return settings, nil
}

func (d *driver) ClientConnected(client ftpserver.ClientContext) (string, error) {
	s := d.session
	s.mu.Lock()
	defer s.mu.Unlock()
	s.client = client
	return "tlsstream ftpd: TLS only, passive mode only", nil
}

// ClientDisconnected is called when the client's commands have ended.
func (d *driver) ClientDisconnected(ftpserver.ClientContext) {
	d.session.leave()
}

var errEncrypted = errors.New("the control connection speaks TLS already")

// GetTLSConfig is called for AUTH, for each passive listener, and for FEAT, which
// only wants to know whether there is one.
func (d *driver) GetTLSConfig() (*tls.Config, error) {
	s := d.session
	s.mu.Lock()
	client := s.client
	s.mu.Unlock()
	if client.GetLastCommand() != "AUTH" {
		return s.family.data(s.server.config.RequireReuse), nil
	}
	if client.HasTLSForControl() {
		return nil, errEncrypted
	}
	return s.family.control(s.server.config.RequireReuse), nil
}

// WrapPassiveListener puts the layer below the TLS of data connections: the
// library goes on with tls.NewListener.
func (d *driver) WrapPassiveListener(l net.Listener) (net.Listener, error) {
	return &dataListener{Listener: l, session: d.session}, nil
}

func (d *driver) AuthUser(client ftpserver.ClientContext, name, password string) (ftpserver.ClientDriver, error) {
	s := d.session
	user, err := s.server.config.Users.check(s.ctx, name, password)
	if err != nil {
		s.log.Warn("login refused", "user", name)
		return nil, err
	}
	disk, err := newUserDisk(s, user)
	if err != nil {
		s.log.Error("cannot open the folder of a user", "user", name, "err", err)
		return nil, errors.New("the user's folder cannot be opened")
	}
	s.use(disk)
	s.login.Stop()
	s.log.Info("logged in", "user", name, "client", client.GetClientVersion())
	return disk, nil
}
