"""A client of the official SDK for Python, up to revision 2025-11-25: asks for everything it can ask for,
and prints what it was told. Its one argument is JSON: where the server is, and what to call."""

import asyncio
import contextlib
import json
import sys
from datetime import timedelta

from mcp import ClientSession, McpError, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.types import PaginatedRequestParams, PromptReference, ResourceTemplateReference


@contextlib.asynccontextmanager
async def streams(server):
    if "command" in server:
        parameters = StdioServerParameters(command=server["command"][0], args=server["command"][1:])
        async with stdio_client(parameters) as (read, write):
            yield read, write
    else:
        http = create_mcp_http_client(headers={"Authorization": f"Bearer {server['token']}"})
        async with http, streamable_http_client(server["url"], http_client=http) as (read, write, _):
            yield read, write


def text(blocks):
    return " ".join(getattr(one, "text", "") for one in blocks)


async def refusal(asking):
    try:
        await asking
    except McpError as error:
        return error.error.code
    return None


async def main(asked):
    news = []

    async def heard(message):
        news.append(type(message).__name__)

    async with (
        streams(asked) as (read, write),
        ClientSession(read, write, message_handler=heard) as session,
    ):
        hello = await session.initialize()
        told = {"version": hello.protocolVersion, "server": hello.serverInfo.name}
        told["can"] = sorted(name for name, value in hello.capabilities if value is not None)
        tools = (await session.list_tools()).tools
        told["tools"] = [tool.name for tool in tools]
        told["calls"] = []
        for name, arguments in asked["calls"]:
            result = await session.call_tool(name, arguments)
            told["calls"].append([result.isError, text(result.content)])
        # What the tool's output schema says of this, the SDK checks.
        weather = await session.call_tool("everything__get-structured-content", {"location": "Chicago"})
        told["structured"] = weather.structuredContent
        image = await session.call_tool("everything__get-tiny-image", {})
        told["kinds"] = [one.type for one in image.content]

        told["prompts"] = [prompt.name for prompt in (await session.list_prompts()).prompts]
        prompt = await session.get_prompt("everything__args-prompt", {"city": "Oslo"})
        told["prompt"] = prompt.messages[0].content.text
        told["resources"] = len((await session.list_resources()).resources)
        told["templates"] = len((await session.list_resource_templates()).resourceTemplates)
        for member, uri in asked["reads"].items():
            told[member] = (await session.read_resource(uri)).contents[0].text
        reference = PromptReference(type="ref/prompt", name="everything__completable-prompt")
        argument = {"name": "name", "value": "A"}
        known = {"department": "Engineering"}
        completed = await session.complete(reference, argument, known)
        reference = ResourceTemplateReference(type="ref/resource", uri="demo://resource/dynamic/text/{resourceId}")
        template = await session.complete(reference, {"name": "resourceId", "value": "7"})
        told["completed"] = completed.completion.values + template.completion.values

        steps = []

        async def progress(done, total, message):
            steps.append([done, total])

        long = "everything__trigger-long-running-operation"
        arguments = {"duration": 1, "steps": 2}
        await session.call_tool(long, arguments, progress_callback=progress)
        told["progress"] = steps
        # The SDK says itself that it has given this one up.
        timeout = timedelta(milliseconds=200)
        given_up = session.call_tool(long, {"duration": 30, "steps": 1}, read_timeout_seconds=timeout)
        told["given_up"] = await refusal(given_up)

        page = PaginatedRequestParams(cursor="no such page")
        lists = [session.list_tools, session.list_prompts, session.list_resources, session.list_resource_templates]
        told["cursors"] = [await refusal(one(params=page)) for one in lists]
        told["no_tool"] = await refusal(session.call_tool("no__tool", {}))
        told["no_prompt"] = await refusal(session.get_prompt("no__prompt"))
        told["no_resource"] = await refusal(session.read_resource("no://resource"))
        told["bad_prompt"] = await refusal(session.get_prompt("everything__args-prompt"))
        await session.send_ping()
        await session.set_logging_level("warning")
        await session.subscribe_resource("demo://resource/dynamic/text/1")
        await session.unsubscribe_resource("demo://resource/dynamic/text/1")
        told["after"] = text((await session.call_tool("everything__echo", {"message": "still here"})).content)
        print(json.dumps(told))


asyncio.run(main(json.loads(sys.argv[1])))
