import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";

import type { SubmitParams } from "../src/client/index.ts";
import { snippet } from "../src/dashboard/snippets.ts";

const PARAMS = {
  agent: "sandbox",
  input: { commands: ["echo 'it''s'", 'printf "%s"'], stdin: true, files: { "a b.txt": "ü\n".repeat(40) } },
  priority: 1,
} as SubmitParams;

test("curl's body is the same task after a shell has read it", () => {
  const command = snippet("curl", PARAMS, "http://gateway").replace(/^curl/, "printf '%s\\n'");
  const words = execFileSync("sh", ["-c", command], { encoding: "utf-8" }).split("\n-d\n")[1] ?? "";
  assert.deepEqual(JSON.parse(words), { mode: "blocking", ...PARAMS });
});

test("where a token is needed it is named, in each language, and curl's shell puts it in", () => {
  const command = snippet("curl", PARAMS, "http://gateway", true).replace(/^curl/, "printf '%s\\n'");
  const env = { ...process.env, GATEWAY_TOKEN: "t0" };
  assert.match(
    execFileSync("sh", ["-c", command], { encoding: "utf-8", env }),
    /^Authorization: Bearer t0$/m,
  );
  const code = snippet("Python", PARAMS, "http://gateway", true);
  assert.match(code, /token=os\.environ\["GATEWAY_TOKEN"\]/);
  execFileSync("python3", ["-c", "import ast, sys; ast.parse(sys.stdin.read())"], { input: code });
  assert.match(
    snippet("TypeScript", PARAMS, "http://gateway", true),
    /token: \(\) => process\.env\.GATEWAY_TOKEN/,
  );
});

test("Python's is Python, with its own names for true, false and nothing", () => {
  const code = snippet("Python", { ...PARAMS, workflow_id: null }, "http://gateway");
  assert.match(code, /workflow_id=None/);
  assert.match(code, /"stdin": True/);
  execFileSync("python3", ["-c", "import ast, sys; ast.parse(sys.stdin.read())"], { input: code });
});
