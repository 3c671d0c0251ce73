// Makes `src/client/protocol.ts` of the JSON Schema on standard input; prints it. See `npm run protocol`.

import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";

import { compile } from "json-schema-to-typescript";

const BANNER = `/**
 * The wire's types, made by \`npm run protocol\` from the gateway's own models; a test holds them to those.
 *
 * Names are the contract's. Times are RFC 3339 UTC strings with milliseconds.
 */`;

/** A schema as its reader wants the types: named by its place, without the checks that no type can say. */
function plain(schema) {
  if (Array.isArray(schema)) return schema.map(plain);
  if (typeof schema !== "object" || schema === null) return schema;
  const { title, not, discriminator, propertyNames, maxItems, minItems, ...kept } = schema;
  const out = Object.fromEntries(
    Object.entries(kept).map(([key, value]) => [key, key === "properties" ? named(value) : plain(value)]),
  );
  // More keys may come with a later version; what is known is what is typed.
  if (out.properties !== undefined) out.additionalProperties = false;
  if (out.patternProperties !== undefined) {
    out.additionalProperties = Object.values(out.patternProperties)[0];
    delete out.patternProperties;
  }
  if (out.$ref !== undefined && Object.keys(out).length > 1) return { $ref: out.$ref };
  return out;
}

/** A property may be called like a keyword. */
function named(properties) {
  return Object.fromEntries(Object.entries(properties).map(([key, value]) => [key, plain(value)]));
}

const { components, ...root } = JSON.parse(readFileSync(0, "utf-8"));
const schema = {
  ...plain(root),
  components: { schemas: named(components.schemas) },
};
const types = await compile(schema, "Wire", {
  bannerComment: BANNER,
  format: false,
  unreachableDefinitions: false,
  unknownAny: true,
  ignoreMinAndMaxItems: true,
});
const biome = new URL("../node_modules/@biomejs/biome/bin/biome", import.meta.url).pathname;
process.stdout.write(
  execFileSync(process.execPath, [biome, "format", "--stdin-file-path=types.ts"], {
    input: types,
    cwd: new URL("..", import.meta.url),
  }),
);
