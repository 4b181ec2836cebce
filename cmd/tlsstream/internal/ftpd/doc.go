package ftpd

// Closers and Truncaters are the clients that end an upload with close_notify, and
// those that do not.
const (
	Closers    = "curl"
	Truncaters = "ftplib"
)
