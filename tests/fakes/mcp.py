#!/usr/bin/env python3
"""A small MCP server on standard input and output, in both eras, that can be made to misbehave.

Python's standard library only. What it is made to do comes from the environment:

  FAKE_MCP_TOOLS   a JSON list that replaces its tools
  FAKE_MCP_LISTED  a file with a JSON object that replaces its `tools`, `prompts`, `resources` and
                   `resourceTemplates`; read whenever it lists, and it obeys: `echo` of "exit" ends
                   it, of "tell" has it tell that its lists have changed
  FAKE_MCP_ERA     `session` or `stateless`: it speaks only that one
  FAKE_MCP_HTTP    a port of 127.0.0.1 (0: any, told on standard output): streamable HTTP there
                   in place of standard input and output
  FAKE_MCP_KEY     the value that every request's `x-api-key` has to have
  FAKE_MCP_DOES    how it misbehaves once it is asked for its tools:
                   flood, hang, exit, wrong-id, large, deep, not-utf8, storm, twice, turncoat,
                   pages, garbage
"""

import http.server
import json
import os
import sys
import time

STATELESS = "2026-07-28"
SESSION = "2025-11-25"
META = "io.modelcontextprotocol/"
NO_METHOD = -32601
BAD_VERSION = -32022

HTTP = os.environ.get("FAKE_MCP_HTTP")
INFO = {"name": "fake", "version": "1.0.0"}
CAPABILITIES = {"tools": {}, "prompts": {}, "resources": {}}
TOOLS = [
    {
        "name": "echo",
        "title": "Echo",
        "description": "Give a text back.",
        "inputSchema": {
            "type": "object",
            "properties": {"text": {"type": "string"}},
            "required": ["text"],
            "additionalProperties": False,
        },
        "annotations": {"readOnlyHint": True},
        "x-unknown": {"kept": [1, 2, 3]},
    },
    {
        "name": "forget",
        "description": "Forget everything.",
        "inputSchema": {"type": "object", "additionalProperties": False},
    },
]
PROMPTS = [{"name": "greet", "description": "Greet somebody."}]
RESOURCES = [{"uri": "fake://one", "name": "one", "mimeType": "text/plain"}]
TEMPLATES = [{"uriTemplate": "fake://{name}", "name": "any"}]


class Fault(Exception):
    """A JSON-RPC error."""

    def __init__(self, code, message, data=None):
        super().__init__(message)
        self.error = {"code": code, "message": message}
        if data is not None:
            self.error["data"] = data


def write(line):
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


said = []


def say(message):
    if HTTP is not None:
        said.append({"jsonrpc": "2.0", **message})
        return
    write(json.dumps({"jsonrpc": "2.0", **message}).encode())


def written(what, otherwise):
    path = os.environ.get("FAKE_MCP_LISTED")
    if not path:
        return otherwise
    with open(path, encoding="utf-8") as file:
        return json.load(file).get(what, otherwise)


def obey(text):
    """After the answer: what a test asked for."""
    if not os.environ.get("FAKE_MCP_LISTED"):
        return
    if text == "exit":
        os._exit(0)
    if text == "tell":
        for what in ("tools", "prompts", "resources"):
            say({"method": f"notifications/{what}/list_changed"})


def tools():
    if os.environ.get("FAKE_MCP_LISTED"):
        return written("tools", TOOLS)
    text = os.environ.get("FAKE_MCP_TOOLS")
    if text:
        return json.loads(text)
    # Beside the program where it has such a file: a rug that can be pulled without a new process.
    beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tools.json")
    if os.path.exists(beside):
        with open(beside, encoding="utf-8") as file:
            return json.load(file)
    return TOOLS


def misbehave(how, ident):
    """Does it, and says whether there is nothing more to answer."""
    if how == "flood":
        while True:
            write(b'{"jsonrpc":"2.0","method":"notifications/message","params":"' + b"x" * 60000 + b'"}')
    if how == "storm":
        for _ in range(10_000):
            say({"method": "notifications/tools/list_changed"})
    if how == "hang":
        time.sleep(3600)
    if how == "exit":
        print("fake: something broke", file=sys.stderr, flush=True)
        os._exit(3)
    if how == "wrong-id":
        say({"id": ident + 1000, "result": {"tools": []}})
    if how == "large":
        write(b'{"jsonrpc":"2.0","id":%d,"result":{"tools":[],"x":"' % ident + b"x" * 100_000_000 + b'"}}')
    if how == "deep":
        write(b'{"jsonrpc":"2.0","id":%d,"result":' % ident + b"[" * 10_000 + b"]" * 10_000 + b"}")
    if how == "not-utf8":
        write(b'{"jsonrpc":"2.0","id":%d,"result":{"tools":[{"name":"\xff\xfe"}]}}' % ident)
    if how == "twice":
        write(b'{"jsonrpc":"2.0","id":%d,"result":{"tools":[{"name":"a","name":"b"}]}}' % ident)
    if how == "garbage":
        write(b"Listening on standard input")
    return how in ("wrong-id", "large", "deep", "not-utf8", "twice", "garbage")


def listed(key, items, stateless):
    result = {key: items}
    if stateless:
        result |= {"resultType": "complete", "ttlMs": 60_000, "cacheScope": "private"}
    return result


def answer(method, params, stateless):
    if method == "initialize":
        return {
            "protocolVersion": SESSION,
            "capabilities": CAPABILITIES,
            "serverInfo": INFO,
            "instructions": "A fake.",
        }
    if method == "server/discover":
        return {
            "resultType": "complete",
            "supportedVersions": [STATELESS],
            "capabilities": CAPABILITIES,
            "ttlMs": 60_000,
            "cacheScope": "private",
            "_meta": {META + "serverInfo": INFO},
        }
    if method == "ping" and not stateless:
        return {}
    if method == "tools/list":
        if os.environ.get("FAKE_MCP_DOES") == "pages":
            return {"tools": [], "nextCursor": "again"}
        return listed("tools", tools(), stateless)
    if method == "prompts/list":
        return listed("prompts", written("prompts", PROMPTS), stateless)
    if method == "resources/list":
        return listed("resources", written("resources", RESOURCES), stateless)
    if method == "resources/templates/list":
        return listed("resourceTemplates", written("resourceTemplates", TEMPLATES), stateless)
    if method == "tools/call":
        name, arguments = params.get("name"), params.get("arguments", {})
        if name == "echo":
            result = {"content": [{"type": "text", "text": arguments.get("text", "")}]}
            return result | ({"resultType": "complete"} if stateless else {})
        raise Fault(-32602, f"unknown tool: {name}")
    raise Fault(NO_METHOD, f"no such method: {method}")


def one(message):
    if "id" not in message or "method" not in message:
        return
    ident, method, params = message["id"], message["method"], message.get("params") or {}
    asked = (params.get("_meta") or {}).get(META + "protocolVersion")
    only = os.environ.get("FAKE_MCP_ERA")
    does = os.environ.get("FAKE_MCP_DOES", "")
    try:
        if only == "session" and asked:
            raise Fault(NO_METHOD, f"no such method: {method}")
        if only == "stateless" and not asked:
            raise Fault(BAD_VERSION, "unsupported version", {"supported": [STATELESS]})
        if asked and asked != STATELESS:
            data = {"supported": [STATELESS], "requested": asked}
            raise Fault(BAD_VERSION, "unsupported version", data)
        if method == "tools/list" and misbehave(does, ident):
            return
        result = answer(method, params, bool(asked))
        if does == "turncoat" and method == "tools/list":
            # Something else at every start.
            result["tools"] = [dict(TOOLS[0], description=f"Give a text back. {os.urandom(4).hex()}")]
        say({"id": ident, "result": result})
        if method == "tools/call":
            obey((params.get("arguments") or {}).get("text"))
    except Fault as fault:
        say({"id": ident, "error": fault.error})


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        key = os.environ.get("FAKE_MCP_KEY")
        if key and self.headers.get("x-api-key") != key:
            return self.reply(401, b"", "text/plain")
        said.clear()
        message = json.loads(body)
        one(message)
        if not said:
            return self.reply(202, b"", "application/json")
        text = json.dumps(said[-1]).encode()
        if message["method"] == "prompts/list":
            return self.reply(200, b"event: message\ndata: " + text + b"\n\n", "text/event-stream")
        return self.reply(200, text, "application/json")

    def reply(self, status, body, kind):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    if HTTP is not None:
        server = http.server.HTTPServer(("127.0.0.1", int(HTTP)), Handler)
        print(server.server_address[1], flush=True)
        server.serve_forever()
    for line in sys.stdin.buffer:
        if line.strip():
            one(json.loads(line))


if __name__ == "__main__":
    main()
