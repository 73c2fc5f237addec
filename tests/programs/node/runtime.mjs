// What a JavaScript program commonly does. Says in one JSON line what worked.
import { execFile, fork } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, readFile, writeFile } from "node:fs/promises";
import { watch } from "node:fs";
import { createConnection, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Worker, isMainThread, parentPort } from "node:worker_threads";
import { gzipSync, gunzipSync } from "node:zlib";

const self = fileURLToPath(import.meta.url);

const inWorker = () =>
  new Promise((done, failed) => {
    const worker = new Worker(self);
    worker.once("message", done);
    worker.once("error", failed);
  });

const inChild = () =>
  new Promise((done, failed) => {
    const child = fork(self, ["child"]);
    child.once("message", done);
    child.once("error", failed);
  });

const seesChange = async (directory) => {
  const change = new Promise((done) => {
    const watcher = watch(directory, (_, name) => {
      watcher.close();
      done(name);
    });
  });
  await writeFile(join(directory, "new"), "text");
  return change;
};

const byUnixSocket = (path) =>
  new Promise((done, failed) => {
    const server = createServer((socket) => socket.end("hello")).listen(path, () => {
      let said = "";
      const client = createConnection(path);
      client.on("data", (data) => (said += data));
      client.once("error", failed);
      client.once("end", () => server.close(() => done(said)));
    });
    server.once("error", failed);
  });

const refused = async (address) => {
  try {
    await fetch(address);
    return "none";
  } catch (error) {
    return error.cause?.code ?? String(error);
  }
};

if (!isMainThread) {
  // Long enough for the compiler to make machine code of it.
  let sum = 0;
  for (let i = 0; i < 5_000_000; i++) sum = (sum + i) % 997;
  parentPort.postMessage(sum);
} else if (process.argv[2] === "child") {
  process.send("from a child");
  process.disconnect();
} else {
  const directory = await mkdtemp(join(tmpdir(), "probe-"));
  const { stdout } = await promisify(execFile)("/bin/sh", ["-c", "echo $0 | rev", "abc"]);
  const text = randomBytes(1 << 16).toString("hex");
  const found = {
    worker: await inWorker(),
    child: await inChild(),
    command: stdout.trim(),
    watch: await seesChange(directory),
    unix: await byUnixSocket(join(directory, "socket")).catch(({ code }) => code),
    file: await readFile(join(directory, "new"), "utf8"),
    zip: gunzipSync(gzipSync(text)).toString() === text,
    hash: createHash("sha256").update("abc").digest("hex").slice(0, 8),
    loopback: await refused("http://127.0.0.1:18457/"),
    world: await refused("http://192.0.2.1/"),
  };
  console.log(JSON.stringify(found));
}
