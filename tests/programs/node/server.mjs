// A small MCP server with the official SDK for JavaScript, over standard input and output.
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

// The packages are not beside this file.
const need = createRequire(`${process.env.PACKAGES}/package.json`);
const load = (name) => import(pathToFileURL(need.resolve(name)));
const { McpServer } = await load("@modelcontextprotocol/sdk/server/mcp.js");
const { StdioServerTransport } = await load("@modelcontextprotocol/sdk/server/stdio.js");
const { z } = await load("zod");

const server = new McpServer({ name: "small", version: "1" });
server.registerTool(
  "add",
  { description: "Adds two numbers.", inputSchema: { a: z.number(), b: z.number() } },
  ({ a, b }) => ({ content: [{ type: "text", text: String(a + b) }] }),
);
server.registerTool(
  "look",
  { description: "Reads a file.", inputSchema: { path: z.string() } },
  async ({ path }) => ({ content: [{ type: "text", text: await readFile(path, "utf8") }] }),
);
await server.connect(new StdioServerTransport());
