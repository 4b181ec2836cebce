"""resume.py PORT CAFILE VERSION: connect twice, read to the end each time, and exit with 0 if the second resumed."""

import socket
import ssl
import sys

port, ca, version = int(sys.argv[1]), sys.argv[2], sys.argv[3]
context = ssl.create_default_context(cafile=ca)
context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, version)
session = None
for _ in range(2):
    conn = context.wrap_socket(
        socket.create_connection(("127.0.0.1", port)), server_hostname="localhost", session=session
    )
    while conn.recv(4096):
        pass
    session = conn.session
    resumed = conn.session_reused
    conn.unwrap()
sys.exit(0 if resumed else "not resumed")
