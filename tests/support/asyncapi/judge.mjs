// What AsyncAPI's own parser says of the document on standard input, as JSON: what it found, and what it read.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const { document, diagnostics } = await new Parser().parse(readFileSync(0, "utf8"));
const found = diagnostics.map(({ severity, code, message, path }) => ({ severity, code, message, path }));
const read = document && {
  version: document.version(),
  channels: document.channels().all().map((channel) => channel.address()),
  messages: document.messages().all().map((message) => message.id()),
};
process.stdout.write(JSON.stringify({ found, read: read ?? null }));
