// A client of the official SDK for TypeScript, version 1: asks for everything it can ask for, and prints
// what it was told; or waits for news of tools, and prints what there is then. Its one argument is JSON:
// where the server is, and what to call.

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ToolListChangedNotificationSchema } from "@modelcontextprotocol/sdk/types.js";

const asked = JSON.parse(process.argv[1]);

// The stream of news is there; over standard input and output it always is.
const listening = Promise.withResolvers();

function transport() {
  if (asked.command) {
    listening.resolve();
    const [command, ...args] = asked.command;
    return new StdioClientTransport({ command, args });
  }
  const headers = { Authorization: `Bearer ${asked.token}` };
  const seen = async (url, init) => {
    const response = await fetch(url, init);
    if (init.method === "GET" && response.ok) listening.resolve();
    return response;
  };
  return new StreamableHTTPClientTransport(new URL(asked.url), { requestInit: { headers }, fetch: seen });
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

const client = new Client({ name: "test", version: "1" });
const way = transport();
const wrong = [];
client.onerror = (error) => {
  // Progress that comes together with the answer is handled after it, and then belongs to no call.
  if (!String(error).includes("progress notification for an unknown token")) wrong.push(String(error));
};
const news = Promise.withResolvers();
client.setNotificationHandler(ToolListChangedNotificationSchema, news.resolve);
await client.connect(way);
if (asked.watch) {
  await listening.promise;
  console.log("listening");
  setTimeout(() => {
    console.log("heard nothing");
    process.exit(1);
  }, 120_000);
  await news.promise;
  const { tools } = await client.listTools();
  console.log(JSON.stringify(tools.map((tool) => tool.name)));
  await client.close();
  process.exit();
}
const told = { version: way.protocolVersion ?? "2025-11-25", server: client.getServerVersion().name };
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
await client.callTool(long(1, 2), undefined, {
  onprogress: ({ progress, total }) => told.progress.push([progress, total]),
});
const given_up = new AbortController();
const calling = refusal(client.callTool(long(30, 1), undefined, { signal: given_up.signal }));
await client.ping();
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
await client.ping();
await client.setLoggingLevel("warning");
await client.subscribeResource({ uri: "demo://resource/dynamic/text/1" });
await client.unsubscribeResource({ uri: "demo://resource/dynamic/text/1" });
const echo = { name: "everything__echo", arguments: { message: "still here" } };
told.after = text((await client.callTool(echo)).content);
if (!asked.command) await way.terminateSession();
await client.close();
told.wrong = wrong;
console.log(JSON.stringify(told));
