#!/usr/bin/env python3
"""Passes HTTP/1.1 on to another port of 127.0.0.1 with a bearer token, for clients that have none.

    bearer.py PORT TO TOKEN

Everything else stays as it is, `Host` and `Origin` with it. Only what the Python standard library has.
"""

import socket
import sys
import threading

PORT, TO, TOKEN = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]


def back(answers, client):
    """Answers, as they come."""
    try:
        while data := answers.recv(1 << 16):
            client.sendall(data)
    except OSError:
        pass  # One of the two has gone.
    # Whoever still reads requests of this client has no use for them.
    for end in (client, answers):
        shut(end)


def shut(end):
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # It was shut already.


def request(requests, server):
    """Passes on one request; false where there is none any more."""
    head, length, chunked = [], 0, False
    while (line := requests.readline()) != b"\r\n":
        if not line.endswith(b"\r\n"):
            return False
        head.append(line)
        name, _, value = line.lower().partition(b":")
        if name == b"content-length":
            length = int(value)
        chunked = chunked or name == b"transfer-encoding" and b"chunked" in value
    server.sendall(b"".join(head) + b"Authorization: Bearer " + TOKEN.encode() + b"\r\n\r\n")
    server.sendall(requests.read(length))
    while chunked:
        size = requests.readline()
        server.sendall(size + requests.read(int(size, 16) + 2))
        chunked = int(size, 16) > 0
    return True


def serve(client):
    with client, socket.create_connection(("127.0.0.1", TO)) as server:
        answers = threading.Thread(target=back, args=(server, client), daemon=True)
        answers.start()
        try:
            with client.makefile("rb") as requests:
                while request(requests, server):
                    pass
        except OSError:
            pass  # One of the two has gone.
        shut(server)
        answers.join()


with socket.create_server(("127.0.0.1", PORT)) as listener:
    print(PORT, flush=True)
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
