"""Tries what no script may: what it reached comes as JSON, what it did not as the reason."""

import json
import os
import pathlib
import socket
import sys
import time
import urllib.request


def reach(host, port):
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        return repr(connection.getpeername())


def fetch(url):
    with urllib.request.urlopen(url, timeout=20) as answer:
        return answer.read().decode()


def read(path):
    return pathlib.Path(path).read_text()


def write(path):
    pathlib.Path(path).write_text("changed")
    return "written"


def leave(name):
    """Something for the next call to find, if it can."""
    path = pathlib.Path("/tmp") / name
    found = path.exists()
    path.write_text("here")
    return f"found {found}"


def sleep(_):
    time.sleep(3600)


def flood(_):
    line = b"x" * 65536
    while True:
        os.write(1, line)


def bytes_(_):
    sys.stdout.flush()
    os.write(1, bytes(range(256)))
    sys.exit(0)


def signal(number):
    os.kill(os.getpid(), int(number))


def fork(_):
    """A child that outlives its parent and keeps its output open."""
    if os.fork() == 0:
        os.setsid()
        time.sleep(3600)
    print("left")
    sys.stdout.flush()
    os._exit(0)


WAYS = {
    "fetch": fetch, "read": read, "write": write, "reach": reach, "leave": leave, "sleep": sleep, "flood": flood,
    "bytes": bytes_, "signal": signal, "fork": fork,
}

try:
    got = {"got": WAYS[sys.argv[1]](*sys.argv[2:])}
except OSError as error:
    got = {"refused": type(error).__name__}
print(json.dumps(got))
