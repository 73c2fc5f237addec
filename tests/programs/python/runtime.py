"""What a Python program commonly does. Says in one JSON line what worked."""

import asyncio
import json
import multiprocessing
import os
import queue
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading


def square(number):
    return number * number


def files():
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "a", "b")
        os.makedirs(path)
        with open(os.path.join(path, "c"), "w") as file:
            file.write("text")
        os.utime(os.path.join(path, "c"))
        os.chmod(os.path.join(path, "c"), 0o600)
        os.rename(os.path.join(path, "c"), os.path.join(path, "d"))
        return [len(files) for _, _, files in os.walk(directory)]


def database():
    with tempfile.TemporaryDirectory() as directory:
        connection = sqlite3.connect(os.path.join(directory, "db"))
        connection.execute("pragma journal_mode=wal")
        connection.execute("create table a(b)")
        with connection:
            connection.executemany("insert into a values (?)", [(n,) for n in range(100)])
        return connection.execute("select sum(b) from a").fetchone()[0]


def tls():
    """Both ends of a handshake that cannot end well, in memory; the roots are the system's."""
    context = ssl.create_default_context()
    client = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="example.org")
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return ssl.OPENSSL_VERSION.split()[0]


def threads():
    results = queue.Queue()
    all_of_them = [threading.Thread(target=lambda n=n: results.put(n)) for n in range(16)]
    for thread in all_of_them:
        thread.start()
    for thread in all_of_them:
        thread.join()
    return sum(results.get() for _ in all_of_them)


def children():
    done = subprocess.run(
        ["/bin/sh", "-c", "tr a-z A-Z | rev; exit 3"], input=b"abc", capture_output=True
    )
    return [done.returncode, done.stdout.decode().strip()]


def pool():
    with multiprocessing.get_context("fork").Pool(4) as workers:
        forked = sum(workers.map(square, range(20)))
    with multiprocessing.get_context("spawn").Pool(2) as workers:
        return [forked, sum(workers.map(square, range(20)))]


async def loop():
    """Tasks, a child, a pair of sockets and a unix server."""
    child = await asyncio.create_subprocess_exec(
        "/bin/echo", "from a child", stdout=asyncio.subprocess.PIPE
    )
    said = (await child.communicate())[0].decode().strip()
    path = os.path.join(tempfile.mkdtemp(), "socket")

    async def serve(reader, writer):
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()

    await asyncio.gather(*(asyncio.sleep(0.001) for _ in range(100)))
    try:
        server = await asyncio.start_unix_server(serve, path)
    except OSError as error:
        return [said, type(error).__name__]
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b"hello\n")
    answer = (await reader.readline()).decode().strip()
    writer.close()
    server.close()
    return [said, answer]


def refused():
    """Each of these must fail, and say so like any other error of a network."""
    errors = []
    for family, kind, act in [
        (socket.AF_INET, socket.SOCK_STREAM, lambda s: s.connect(("127.0.0.1", 9))),
        (socket.AF_INET, socket.SOCK_STREAM, lambda s: s.connect(("192.0.2.1", 80))),
        (socket.AF_INET, socket.SOCK_STREAM, lambda s: s.bind(("127.0.0.1", 0))),
        (socket.AF_INET, socket.SOCK_DGRAM, lambda s: s.sendto(b"x", ("127.0.0.1", 9))),
    ]:
        try:
            with socket.socket(family, kind) as one:
                act(one)
            errors.append("none")
        except OSError as error:
            errors.append(type(error).__name__)
    return errors


def main():
    found = {
        "files": files(),
        "database": database(),
        "tls": tls(),
        "threads": threads(),
        "children": children(),
        "pool": pool(),
        "loop": asyncio.run(loop()),
        "refused": refused(),
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
