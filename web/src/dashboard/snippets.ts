/** The same task, submitted from elsewhere. */

import type { SubmitParams } from "../client/index.ts";

export const LANGUAGES = ["curl", "Python", "TypeScript"] as const;
export type Language = (typeof LANGUAGES)[number];

/** Longer texts are told by their length: what is shown is to be read. */
const SHOWN_CHARS = 400;

/** Who asks, where the gateway wants to know. */
const TOKEN = "GATEWAY_TOKEN";

/** A token is named, and never shown. */
export function snippet(
  language: Language,
  params: SubmitParams,
  origin: string,
  needsToken = false,
): string {
  const body = shortened(params) as { [key: string]: unknown };
  if (language === "curl") return curl(body, origin, needsToken);
  return language === "Python" ? python(body, origin, needsToken) : typeScript(body, origin, needsToken);
}

function curl(body: object, origin: string, needsToken: boolean): string {
  const who = needsToken ? ` -H "Authorization: Bearer $${TOKEN}"` : "";
  const json = JSON.stringify({ mode: "blocking", ...body }, null, 2).replaceAll("'", "'\\''");
  return `curl ${origin}/v1/tasks${who} -H 'Content-Type: application/json' -d '${json}'`;
}

function python(body: { [key: string]: unknown }, origin: string, needsToken: boolean): string {
  const [more, token] = needsToken ? ["import os\n", `, token=os.environ["${TOKEN}"]`] : ["", ""];
  const fields = Object.entries(body).map(([key, value]) => `            ${key}=${literal(value, 12)},`);
  return `import asyncio
${more}from gateway.client.session import connect

async def main():
    async with connect("${origin.replace(/^http/, "ws")}/ws"${token}) as session:
        task = await session.submit(
${fields.join("\n")}
        )
        async for event in task:
            print(event["seq"], event["event"], event["data"])
        print(await task.result())

asyncio.run(main())`;
}

function typeScript(body: object, origin: string, needsToken: boolean): string {
  const token = needsToken ? `, token: () => process.env.${TOKEN} ?? null` : "";
  return `import { connect } from "sentient-gateway-client";

const session = connect({ url: "${origin}"${token} });
const task = await session.submit(${JSON.stringify(body, null, 2)});
for await (const event of task) console.log(event.seq, event.event, event.data);
console.log(await task.result());
session.close();`;
}

/** A value as Python writes it. */
function literal(value: unknown, indent: number): string {
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const isList = Array.isArray(value);
  const items = isList
    ? value.map((item) => literal(item, indent + 4))
    : Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}: ${literal(item, indent + 4)}`);
  const [open, close] = isList ? "[]" : "{}";
  const line = `${open}${items.join(", ")}${close}`;
  if (line.length + indent < 90) return line;
  const pad = " ".repeat(indent + 4);
  return `${open}\n${items.map((item) => `${pad}${item},\n`).join("")}${" ".repeat(indent)}${close}`;
}

function shortened(value: unknown): unknown {
  if (typeof value === "string" && value.length > SHOWN_CHARS) {
    return `${value.slice(0, SHOWN_CHARS)}… (${value.length - SHOWN_CHARS} more characters)`;
  }
  if (Array.isArray(value)) return value.map(shortened);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, shortened(item)]));
}
