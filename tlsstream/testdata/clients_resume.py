"""Sends requests for the paths given, each on a connection of its own, and offers each time the session of the one
before, if there is one. Prints for each whether it was resumed, and how it ended."""
import socket
import ssl
import sys

port, ca, *paths = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
session = None
for path in paths:
    end = ""
    with socket.create_connection(("127.0.0.1", int(port)), timeout=30) as tcp:
        with context.wrap_socket(tcp, server_hostname="127.0.0.1", session=session, suppress_ragged_eofs=False) as tls:
            tls.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
            try:
                while tls.recv(65536):
                    pass
            except ssl.SSLError as e:
                end = e.reason
            if tls.session is not None and tls.session.has_ticket:
                session = tls.session
    print(path, tls.session_reused, end)
