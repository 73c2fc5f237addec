#!/usr/bin/env python3
"""An MCP server as Composio's single-toolkit servers are, beside mcp.py, whose protocol it speaks.

No account of Composio can be had for a test. Copied from its documentation ("Single Toolkit MCP", the
troubleshooting page of MCP, `POST /api/v3/mcp/servers/generate`) and from its issue 3496:

  - streamable HTTP at `/v3/mcp/SERVER_ID` and the same with `/mcp` behind it; anything else is 404
  - the project's API key in the header `x-api-key`; without it 401, where the project requires one
  - `user_id` or `connected_account_id` in the query, in the singular; else an error that says so
  - tools of its toolkits, their names beginning with the toolkit's in capitals; beside them those that
    connect accounts, with `include_composio_helper_actions=true`
  - a result with `data`, `error` and `successful`

From the environment: FAKE_MCP_HTTP and FAKE_MCP_KEY as in mcp.py, FAKE_COMPOSIO_MORE a file; while that
exists, the server lists a tool of a toolkit it was not made for.
"""

import json
import os
import urllib.parse

import mcp

SERVER = "5bc757cc-7a8e-431c-8616-7f57cbed2423"


def tool(name, description, **properties):
    schema = {"type": "object", "properties": properties, "required": sorted(properties)}
    return {"name": name, "description": description, "inputSchema": schema}


TEXT = {"type": "string"}
TOOLS = [
    tool("GMAIL_FETCH_EMAILS", "Fetch messages of a mailbox.", query=TEXT),
    tool("GMAIL_SEND_EMAIL", "Send a message.", recipient_email=TEXT, body=TEXT),
]
HELPER = tool("COMPOSIO_INITIATE_CONNECTION", "Connect an account.", toolkit=TEXT)
OTHER = tool("SLACK_SEND_MESSAGE", "Send a message.", channel=TEXT, text=TEXT)
helps = False
others = mcp.answer


def answer(method, params, stateless):
    if method == "tools/list":
        more = os.path.exists(os.environ.get("FAKE_COMPOSIO_MORE", ""))
        tools = TOOLS + [HELPER] * helps + [OTHER] * more
        return mcp.listed("tools", tools, stateless)
    if method != "tools/call":
        return others(method, params, stateless)
    if params["name"] not in [tool["name"] for tool in TOOLS]:
        raise mcp.Fault(-32602, f"unknown tool: {params['name']}")
    told = {"data": {"asked": params.get("arguments", {})}, "error": None, "successful": True}
    result = {"content": [{"type": "text", "text": json.dumps(told)}]}
    return result | ({"resultType": "complete"} if stateless else {})


class Handler(mcp.Handler):
    def do_POST(self):
        global helps
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        if url.path.removesuffix("/mcp") != f"/v3/mcp/{SERVER}":
            return self.failed(404, "not found")
        key = os.environ.get("FAKE_MCP_KEY")
        if key and self.headers.get("x-api-key") != key:
            return self.failed(401, "missing API key")
        if not (query.get("user_id") or query.get("connected_account_id")):
            return self.failed(400, "user_id or connected_account_id query parameter is required")
        helps = query.get("include_composio_helper_actions") == "true"
        super().do_POST()

    def failed(self, status, message):
        # The body was not read: what follows on this connection would be taken for a request.
        self.close_connection = True
        body = json.dumps({"error": {"message": message, "status": status}}).encode()
        self.reply(status, body, "application/json")


mcp.answer = answer
mcp.Handler = Handler
mcp.CAPABILITIES = {"tools": {}}

if __name__ == "__main__":
    mcp.main()
