"""A small MCP server with the official SDK for Python, over standard input and output."""

from mcp.server.fastmcp import FastMCP

server = FastMCP("small")


@server.tool()
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@server.tool()
def look(path: str) -> str:
    """Reads a file."""
    with open(path) as file:
        return file.read()


server.run("stdio")
