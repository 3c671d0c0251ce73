/**
 * What `@webcontainer/api` finds in its iframe, played: the unmodified client library boots it, mounts into it and
 * spawns in it. It speaks the vendor's protocol (Comlink 4.3 over a port) and knows nothing of our page.
 */

import { expose, proxy } from "/comlink.mjs";
import { Kernel } from "./kernel.js";

let kernel = null;

const server = {
  build({ workdirName }) {
    kernel = new Kernel(`/home/${workdirName}`);
    // So that a test can ask a site for something.
    globalThis.kernel = kernel;
    return proxy(instance(kernel));
  },
};

function instance(own) {
  return {
    fs: () => proxy(fileSystem(own)),
    previewScript: () => null,
    runtimeInfo: () => ({ path: "/bin", cwd: own.root }),
    loadFiles: (payload, { mountPoints }) => own.load(JSON.parse(new TextDecoder().decode(payload)), mountPoints),
    run: ({ command, args, cwd, env, terminal }, _stdout, _stderr, output) =>
      proxy(own.start([command, ...args], { cwd, env: env ?? {}, terminal, output: output ?? (() => {}) })),
    on: (event, listener) => proxy(own.on(event, listener)),
    setPreviewScript: () => {},
    setCredentials: () => {},
    teardown: () => own.end(),
  };
}

function fileSystem(own) {
  return {
    readFile: (path) => own.read(path),
    writeFile: (path, data) => own.write(path, typeof data === "string" ? new TextEncoder().encode(data) : data),
    mkdir: (path) => own.makeFolder(path),
    readdir: (path) => own.list(path).map(([name, isFolder]) => ({ name, "Symbol(type)": isFolder ? 2 : 1 })),
    rm: (path) => own.remove(path),
  };
}

const { port1, port2 } = new MessageChannel();
expose(server, port1);
parent.postMessage({ type: "init" }, "*", [port2]);
