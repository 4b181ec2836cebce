package torture

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The addresses of the two ends, which nobody else has (RFC 5737), in namespaces that nobody else is in.
var (
	clientAddress = net.IPv4(192, 0, 2, 1)
	serverAddress = net.IPv4(192, 0, 2, 2)
)

const (
	// relayQueue is how many packets may be on their way in one direction. What exceeds it is lost, as on any wire.
	relayQueue = 1 << 10

	maxPacket = 1 << 16
)

// dialNamespaces makes two network namespaces with a device each, a relay between the devices, and a connection over
// it. hang up ends them: a namespace lasts as long as its sockets do.
func dialNamespaces() (client, server *net.TCPConn, hangUp func(), err error) {
	var devices []*os.File
	var relays sync.WaitGroup
	hangUp = func() {
		for _, d := range devices {
			d.Close()
		}
		relays.Wait()
	}
	defer func() {
		if err != nil {
			hangUp()
			err = notHere(fmt.Sprintf("network namespaces are not to be had here: %v", err))
		}
	}()

	var ln *net.TCPListener
	err = inNewNamespace(func() error {
		device, err := newDevice(serverAddress, clientAddress)
		if err != nil {
			return err
		}
		devices = append(devices, device)
		ln, err = net.ListenTCP("tcp4", &net.TCPAddr{IP: serverAddress})
		return err
	})
	if err != nil {
		return nil, nil, hangUp, err
	}
	defer ln.Close()
	err = inNewNamespace(func() error {
		device, err := newDevice(clientAddress, serverAddress)
		if err != nil {
			return err
		}
		devices = append(devices, device)
		relays.Go(func() { relay(devices[1], devices[0]) })
		relays.Go(func() { relay(devices[0], devices[1]) })
		conn, err := net.DialTimeout("tcp4", ln.Addr().String(), 5*time.Second)
		if err == nil {
			client = conn.(*net.TCPConn)
		}
		return err
	})
	if err != nil {
		return nil, nil, hangUp, err
	}
	ln.SetDeadline(time.Now().Add(5 * time.Second))
	if server, err = ln.AcceptTCP(); err != nil {
		client.Close()
	}
	return client, server, hangUp, err
}

// inNewNamespace calls f in a network namespace of its own, with which f's thread ends.
func inNewNamespace(f func() error) error {
	failed := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: no other goroutine may run on this thread
		err := os.NewSyscallError("unshare", unix.Unshare(unix.CLONE_NEWNET))
		if err == nil {
			err = f()
		}
		failed <- err
	}()
	return <-failed
}

// newDevice makes a point-to-point device in this thread's namespace. Its other end is the file.
func newDevice(local, peer net.IP) (*os.File, error) {
	const name = "torture0"
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("open /dev/net/tun", err)
	}
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("socket", err)
	}
	defer unix.Close(socket)
	for _, step := range []struct {
		name    string
		fd      int
		request uint
		set     func(*unix.Ifreq) error
	}{
		{"TUNSETIFF", fd, unix.TUNSETIFF, flags(unix.IFF_TUN | unix.IFF_NO_PI)},
		{"SIOCSIFADDR", socket, unix.SIOCSIFADDR, address(local)},
		{"SIOCSIFDSTADDR", socket, unix.SIOCSIFDSTADDR, address(peer)},
		{"SIOCSIFFLAGS", socket, unix.SIOCSIFFLAGS, flags(unix.IFF_UP | unix.IFF_POINTOPOINT | unix.IFF_NOARP)},
	} {
		request, err := unix.NewIfreq(name)
		if err == nil {
			err = step.set(request)
		}
		if err == nil {
			err = unix.IoctlIfreq(step.fd, step.request, request)
		}
		if err != nil {
			unix.Close(fd)
			return nil, os.NewSyscallError(step.name, err)
		}
	}
	return os.NewFile(uintptr(fd), name), nil
}

func flags(bits uint16) func(*unix.Ifreq) error {
	return func(r *unix.Ifreq) error { r.SetUint16(bits); return nil }
}

func address(ip net.IP) func(*unix.Ifreq) error {
	return func(r *unix.Ifreq) error { return r.SetInet4Addr(ip.To4()) }
}

// relay carries packets from one device to the other, each after the delay, until they are closed.
func relay(from, to *os.File) {
	type packet struct {
		content []byte
		due     time.Time
	}
	queue := make(chan packet, relayQueue)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for p := range queue {
			time.Sleep(time.Until(p.due))
			to.Write(p.content)
		}
	}()
	buf := make([]byte, maxPacket)
	for {
		n, err := from.Read(buf)
		if err != nil {
			break
		}
		select {
		case queue <- packet{append([]byte(nil), buf[:n]...), time.Now().Add(delay)}:
		default:
		}
	}
	close(queue)
	<-done
}
