"""A server with the official SDK for Python, over streamable HTTP with TLS; says its port once it listens.

Arguments: a certificate and its key, PEM files."""

import json
import socket
import sys
from typing import Annotated

import uvicorn
from pydantic import Field

try:
    from mcp.server.mcpserver import MCPServer as Server
except ModuleNotFoundError:
    from mcp.server.fastmcp import FastMCP as Server

server = Server("far")
seen = {}


@server.tool()
def where(region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})]) -> str:
    """Says what came, and how."""
    return json.dumps({"region": region, **seen})


inner = server.streamable_http_app()


async def app(scope, receive, send):
    if scope["type"] == "http" and scope["method"] == "POST":
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        seen.update(port=scope["client"][1], header=headers.get("mcp-param-region"))
    await inner(scope, receive, send)


listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen()
print(listener.getsockname()[1], flush=True)
certificate, key = sys.argv[1:]
config = uvicorn.Config(app, ssl_certfile=certificate, ssl_keyfile=key, log_level="error")
uvicorn.Server(config).run(sockets=[listener])
