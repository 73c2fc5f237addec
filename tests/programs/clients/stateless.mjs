// A client of the official SDK for TypeScript, version 2, which finds the stateless era by itself: asks
// for everything it can ask for, and prints what it was told; or waits for news of tools, and prints what
// there is then. Its one argument is JSON: where the server is, and what to call.

import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";

const asked = JSON.parse(process.argv[1]);

function transport() {
  if (asked.command) {
    const [command, ...args] = asked.command;
    return new StdioClientTransport({ command, args });
  }
  const headers = { Authorization: `Bearer ${asked.token}` };
  return new StreamableHTTPClientTransport(new URL(asked.url), { requestInit: { headers } });
}

const text = (blocks) => blocks.map((one) => one.text ?? "").join(" ");

async function refusal(asking) {
  try {
    await asking;
    return null;
  } catch (error) {
    return error.code ?? String(error);
  }
}

const client = new Client({ name: "test", version: "2" }, { versionNegotiation: { mode: "auto" } });
const wrong = [];
client.onerror = (error) => {
  // Progress that comes together with the answer is handled after it, and then belongs to no call.
  if (!String(error).includes("progress notification for an unknown token")) wrong.push(String(error));
};
await client.connect(transport());
if (asked.watch) {
  const changed = Promise.withResolvers();
  client.setNotificationHandler("notifications/tools/list_changed", changed.resolve);
  await client.listen({ toolsListChanged: true });
  console.log("listening");
  setTimeout(() => {
    console.log("heard nothing");
    process.exit(1);
  }, 120_000);
  await changed.promise;
  const { tools } = await client.listTools();
  console.log(JSON.stringify(tools.map((tool) => tool.name)));
  await client.close();
  process.exit();
}
const told = { version: client.getNegotiatedProtocolVersion(), server: client.getServerVersion().name };
told.can = Object.keys(client.getServerCapabilities()).sort();
const { tools } = await client.listTools();
told.tools = tools.map((tool) => tool.name);
told.calls = [];
for (const [name, args] of asked.calls) {
  const result = await client.callTool({ name, arguments: args });
  told.calls.push([result.isError ?? false, text(result.content)]);
}
// What the tool's output schema says of this, the SDK checks.
const weather = { name: "everything__get-structured-content", arguments: { location: "Chicago" } };
told.structured = (await client.callTool(weather)).structuredContent;
const image = await client.callTool({ name: "everything__get-tiny-image", arguments: {} });
told.kinds = image.content.map((one) => one.type);

told.prompts = (await client.listPrompts()).prompts.map((prompt) => prompt.name);
const prompt = await client.getPrompt({ name: "everything__args-prompt", arguments: { city: "Oslo" } });
told.prompt = prompt.messages[0].content.text;
told.resources = (await client.listResources()).resources.length;
told.templates = (await client.listResourceTemplates()).resourceTemplates.length;
for (const [member, uri] of Object.entries(asked.reads)) {
  told[member] = (await client.readResource({ uri })).contents[0].text;
}
const completed = await client.complete({
  ref: { type: "ref/prompt", name: "everything__completable-prompt" },
  argument: { name: "name", value: "A" },
  context: { arguments: { department: "Engineering" } },
});
const template = await client.complete({
  ref: { type: "ref/resource", uri: "demo://resource/dynamic/text/{resourceId}" },
  argument: { name: "resourceId", value: "7" },
});
told.completed = [...completed.completion.values, ...template.completion.values];

told.progress = [];
const long = (duration, steps) => ({
  name: "everything__trigger-long-running-operation",
  arguments: { duration, steps },
});
await client.callTool(long(1, 2), {
  onprogress: ({ progress, total }) => told.progress.push([progress, total]),
});
const given_up = new AbortController();
const calling = refusal(client.callTool(long(30, 1), { signal: given_up.signal }));
const news = await client.listen({ toolsListChanged: true });
await news.close();
given_up.abort("enough");
told.given_up = await calling;

const params = { cursor: "no such page" };
told.cursors = [];
for (const list of ["listTools", "listPrompts", "listResources", "listResourceTemplates"]) {
  told.cursors.push(await refusal(client[list](params)));
}
told.no_tool = await refusal(client.callTool({ name: "no__tool", arguments: {} }));
told.no_prompt = await refusal(client.getPrompt({ name: "no__prompt" }));
told.no_resource = await refusal(client.readResource({ uri: "no://resource" }));
told.bad_prompt = await refusal(client.getPrompt({ name: "everything__args-prompt" }));
const echo = { name: "everything__echo", arguments: { message: "still here" } };
told.after = text((await client.callTool(echo)).content);
await client.close();
told.wrong = wrong;
console.log(JSON.stringify(told));
