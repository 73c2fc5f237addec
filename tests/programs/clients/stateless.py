"""A client of the official SDK for Python, version 2, which finds the stateless era by itself: asks for
everything it can ask for, and prints what it was told. Its one argument is JSON: where the server is, and
what to call."""

import asyncio
import contextlib
import json
import sys

import httpx2
from mcp import MCPError, StdioServerParameters
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import PromptReference, ResourceTemplateReference


@contextlib.asynccontextmanager
async def connected(server):
    if "command" in server:
        parameters = StdioServerParameters(command=server["command"][0], args=server["command"][1:])
        async with Client(parameters) as client:
            yield client
    else:
        headers = {"Authorization": f"Bearer {server['token']}"}
        # Otherwise it waits five seconds, for calls too.
        http = httpx2.AsyncClient(headers=headers, timeout=httpx2.Timeout(30, read=300))
        async with http, Client(streamable_http_client(server["url"], http_client=http)) as client:
            yield client


def text(blocks):
    return " ".join(getattr(one, "text", "") for one in blocks)


async def refusal(asking):
    try:
        await asking
    except MCPError as error:
        return error.error.code
    return None


async def main(asked):
    async with connected(asked) as client:
        told = {"version": client.protocol_version, "server": client.server_info.name}
        told["can"] = sorted(name for name, value in client.server_capabilities if value is not None)
        tools = (await client.list_tools()).tools
        told["tools"] = [tool.name for tool in tools]
        told["calls"] = []
        for name, arguments in asked["calls"]:
            result = await client.call_tool(name, arguments)
            told["calls"].append([result.is_error, text(result.content)])
        # What the tool's output schema says of this, the SDK checks.
        weather = await client.call_tool("everything__get-structured-content", {"location": "Chicago"})
        told["structured"] = weather.structured_content
        image = await client.call_tool("everything__get-tiny-image", {})
        told["kinds"] = [one.type for one in image.content]

        told["prompts"] = [prompt.name for prompt in (await client.list_prompts()).prompts]
        prompt = await client.get_prompt("everything__args-prompt", {"city": "Oslo"})
        told["prompt"] = prompt.messages[0].content.text
        told["resources"] = len((await client.list_resources()).resources)
        told["templates"] = len((await client.list_resource_templates()).resource_templates)
        for member, uri in asked["reads"].items():
            told[member] = (await client.read_resource(uri)).contents[0].text
        reference = PromptReference(name="everything__completable-prompt")
        argument = {"name": "name", "value": "A"}
        completed = await client.complete(reference, argument, {"department": "Engineering"})
        reference = ResourceTemplateReference(uri="demo://resource/dynamic/text/{resourceId}")
        template = await client.complete(reference, {"name": "resourceId", "value": "7"})
        told["completed"] = completed.completion.values + template.completion.values

        steps = []

        async def progress(done, total, message):
            steps.append([done, total])

        long = "everything__trigger-long-running-operation"
        arguments = {"duration": 1, "steps": 2}
        await client.call_tool(long, arguments, progress_callback=progress)
        told["progress"] = steps
        # The SDK says itself that it has given this one up.
        given_up = client.call_tool(long, {"duration": 30, "steps": 1}, read_timeout_seconds=0.2)
        told["given_up"] = await refusal(given_up)
        async with client.listen(tools_list_changed=True):
            pass

        cursor = "no such page"
        lists = [client.list_tools, client.list_prompts, client.list_resources, client.list_resource_templates]
        told["cursors"] = [await refusal(one(cursor=cursor)) for one in lists]
        told["no_tool"] = await refusal(client.call_tool("no__tool", {}))
        told["no_prompt"] = await refusal(client.get_prompt("no__prompt"))
        told["no_resource"] = await refusal(client.read_resource("no://resource"))
        told["bad_prompt"] = await refusal(client.get_prompt("everything__args-prompt"))
        told["after"] = text((await client.call_tool("everything__echo", {"message": "still here"})).content)
        print(json.dumps(told))


asyncio.run(main(json.loads(sys.argv[1])))
