"""An MCP server with one tool that says again what it is told: over standard input and output, or with
`--http` over HTTP on a port of its own, which it prints. Its HTTP is that of Python's own library."""

import json
import sys

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


def http():
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_POST(self):
            body = (answer(self.rfile.read(int(self.headers["content-length"]))) or "").encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


def stdio():
    for line in sys.stdin.buffer:
        said = answer(line)
        if said is not None:
            print(said, flush=True)


http() if sys.argv[1:] == ["--http"] else stdio()
