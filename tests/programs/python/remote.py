"""A server with the official SDK for Python, over streamable HTTP with TLS; says its port once it listens.

Arguments: a certificate and its key, PEM files. Each call of `later` closes its own stream before it
answers, as servers may that have clients ask again (2025-11-25)."""

import asyncio
import inspect
import json
import socket
import sys
from typing import Annotated

import uvicorn
from mcp.server.streamable_http import EventMessage, EventStore
from pydantic import Field

try:
    from mcp.server.mcpserver import Context
    from mcp.server.mcpserver import MCPServer as Server
except ModuleNotFoundError:
    from mcp.server.fastmcp import Context
    from mcp.server.fastmcp import FastMCP as Server


class Kept(EventStore):
    """All events, in memory."""

    def __init__(self):
        self.events = []

    async def store_event(self, stream_id, message):
        self.events.append((stream_id, message))
        return str(len(self.events))

    async def replay_events_after(self, last_event_id, send_callback):
        last = int(last_event_id)
        stream = self.events[last - 1][0]
        for number, (of, message) in enumerate(self.events[last:], last + 1):
            if of == stream and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream


keeps = {"event_store": Kept(), "retry_interval": 100}
# One generation of the SDK takes these here, the other one below.
early = "event_store" in inspect.signature(Server).parameters
server = Server("far", **keeps) if early else Server("far")
seen = {}
resumed = asyncio.Event()


@server.tool()
def where(region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})]) -> str:
    """Says what came, and how."""
    return json.dumps({"region": region, **seen})


@server.tool()
async def later(ctx: Context) -> str:
    """Answers once its client has come back."""
    await ctx.close_sse_stream()
    await resumed.wait()
    return "later"


inner = server.streamable_http_app() if early else server.streamable_http_app(**keeps)


async def app(scope, receive, send):
    if scope["type"] == "http" and scope["method"] == "POST":
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        seen.update(port=scope["client"][1], header=headers.get("mcp-param-region"))
    if scope["type"] == "http" and scope["method"] == "GET":
        if any(name == b"last-event-id" for name, _ in scope["headers"]):
            resumed.set()
    await inner(scope, receive, send)


listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen()
print(listener.getsockname()[1], flush=True)
certificate, key = sys.argv[1:]
config = uvicorn.Config(app, ssl_certfile=certificate, ssl_keyfile=key, log_level="error")
uvicorn.Server(config).run(sockets=[listener])
