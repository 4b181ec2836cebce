"""upload.py PORT CAFILE SIZE [CERTFILE KEYFILE]: write SIZE bytes of the pattern (byte i is i % 251) and close."""

import socket
import ssl
import sys

port, ca, size = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
context = ssl.create_default_context(cafile=ca)
if len(sys.argv) > 4:
    context.load_cert_chain(sys.argv[4], sys.argv[5])
conn = context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="localhost")
assert conn.version() == "TLSv1.3", conn.version()
conn.sendall((bytes(range(251)) * (size // 251 + 1))[:size])
conn.close()
