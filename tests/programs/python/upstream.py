"""An MCP server without a library, which behaves, or not, as its first argument says."""

import json
import os
import sys
import threading
import time
import urllib.request

MODE = sys.argv[1]
OUT = sys.stdout.buffer
LOCK = threading.Lock()
count = 0
seen = []


def raw(data):
    with LOCK:
        OUT.write(data)
        OUT.flush()


def say(message):
    raw(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")


def tools():
    names = ["count", "echo", "wait", "progress", "ask", "fetch", "misbehave", "change", "seen"]
    # An old client's `notifications/initialized` is what is seen of its era.
    if MODE == "changed" or "change" in seen or MODE == "eras" and seen:
        names[1] = "echo2"
    return [{"name": name, "inputSchema": {"type": "object"}} for name in names]


def text(value):
    return {"content": [{"type": "text", "text": value if isinstance(value, str) else json.dumps(value)}]}


def misbehave(id, how):
    """Never returns, but where what it does is allowed."""
    if how == "exit":
        sys.stderr.write("first word\nlast word\n")
        sys.stderr.flush()
        os._exit(3)
    if how == "long":
        for _ in range(100):
            raw(b"x" * (1 << 20))
    if how == "deep":
        raw(b'{"jsonrpc":"2.0","id":%d,"result":' % id + b"[" * 10_000 + b"]" * 10_000 + b"}\n")
    if how == "binary":
        raw(b'{"jsonrpc":"2.0","id":%d,"result":{"a":"\xff\xfe"}}\n' % id)
    if how == "twice":
        raw(b'{"jsonrpc":"2.0","id":%d,"result":{"a":1,"a":2}}\n' % id)
    if how == "wrong":
        say({"id": 4711, "result": {}})
    if how == "again":
        say({"id": id, "result": text("once")})
        say({"id": id, "result": text("twice")})
    if how == "banner":
        raw(b"Listening on port 3000\n")
    if how == "large":
        say({"id": id, "result": text("x" * (5 << 20))})
    if how == "storm":
        line = json.dumps({"jsonrpc": "2.0", "method": "notifications/message",
                           "params": {"level": "info", "data": "x" * 1000}}).encode() + b"\n"
        while True:
            raw(line)
    if how == "stderr":
        while True:
            os.write(2, b"e" * (1 << 16))
    time.sleep(3600)


def call(id, name, arguments):
    global count
    if name == "count":
        count += 1
        return text([os.getuid(), os.getpid(), count])
    if name == "echo":
        return {"content": [], "arguments": arguments, "unknown": 1.50}
    if name == "wait":
        if "cpu" in arguments:
            until = time.process_time() + arguments["cpu"]
            while time.process_time() < until:
                pass
            time.sleep(arguments["rest"])
            return text(time.process_time())
        time.sleep(3600)
    if name == "progress":
        for step in (1, 2):
            say({"method": "notifications/progress", "params": {"progressToken": arguments, "progress": step}})
        return text("done")
    if name == "ask":
        say({"id": "q", "method": "elicitation/create", "params": {"message": "sure?"}})
        asked.wait()
        return text(answers[0])
    if name == "fetch":
        try:
            with urllib.request.urlopen(arguments["url"], timeout=20) as answer:
                return text(answer.read().decode())
        except OSError as error:
            return text(f"refused: {error}")
    if name == "misbehave":
        misbehave(id, arguments["how"])
    if name == "change":
        seen.append("change")
        say({"method": "notifications/tools/list_changed"})
        return text("changed")
    return text(seen)


asked = threading.Event()
answers = []


def serve(message):
    method, id, params = message["method"], message["id"], message.get("params", {})
    if method == "initialize":
        say({"id": id, "result": {
            "protocolVersion": params["protocolVersion"],
            "capabilities": {"tools": {"listChanged": True}},
            "serverInfo": {"name": "upstream", "version": "1"},
        }})
    elif method == "server/discover" and MODE in ("stateless", "eras"):
        say({"id": id, "result": {
            "resultType": "complete", "supportedVersions": ["2026-07-28"],
            "capabilities": {"tools": {}}, "ttlMs": 0, "cacheScope": "private",
        }})
    elif method == "server/discover" and MODE == "rude":
        os._exit(1)
    elif method == "tools/list":
        say({"id": id, "result": {"tools": tools()}})
    elif method == "tools/call":
        arguments = params.get("arguments", {})
        if params["name"] == "progress":
            arguments = params["_meta"]["progressToken"]
        if params["name"] == "echo" and MODE in ("stateless", "eras"):
            arguments = params.get("_meta")
        say({"id": id, "result": call(id, params["name"], arguments)})
    else:
        say({"id": id, "error": {"code": -32601, "message": "no such method"}})


if MODE == "crash":
    sys.exit("nothing works here")
if MODE == "silent":
    time.sleep(3600)
for line in sys.stdin:
    message = json.loads(line)
    if "method" not in message:
        answers.append(message)
        asked.set()
    elif "id" in message:
        threading.Thread(target=serve, args=(message,), daemon=True).start()
    else:
        seen.append(message["method"])
