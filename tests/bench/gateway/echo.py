"""An MCP server with one tool that says again what it is told: over standard input and output, or with
`--http` over HTTP on a port of its own, which it prints. It does as little as a server can."""

import json
import socket
import sys
import threading

TOOL = {
    "name": "echo",
    "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
}


def answer(line):
    asked = json.loads(line)
    if "id" not in asked:
        return None
    method = asked.get("method")
    if method == "tools/call":
        content = {"type": "text", "text": asked["params"]["arguments"]["text"]}
        result = {"content": [content], "isError": False}
    elif method == "tools/list":
        result = {"tools": [TOOL]}
    elif method == "initialize":
        server = {"name": "echo", "version": "1"}
        result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": server}
    else:
        error = {"code": -32601, "message": "there is no such method"}
        return json.dumps({"jsonrpc": "2.0", "id": asked["id"], "error": error})
    return json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result})


def converse(connection):
    """One connection, kept; of a request only its length is looked at."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream = connection.makefile("rb")
    while stream.readline():
        length = 0
        while (line := stream.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        body = (answer(stream.read(length)) or "").encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        connection.sendall(head % len(body) + body)


def http():
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=converse, args=(connection,), daemon=True).start()


def stdio():
    for line in sys.stdin.buffer:
        said = answer(line)
        if said is not None:
            print(said, flush=True)


http() if sys.argv[1:] == ["--http"] else stdio()
