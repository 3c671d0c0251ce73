/** A machine of a few commands: files by their absolute paths, processes with a terminal each, ports. */

const encoder = new TextEncoder();

export class Kernel {
  #files = new Map();
  #folders;
  #processes = new Set();
  #listeners = [];
  /** Handlers of requests, by port. */
  sites = new Map();

  constructor(root) {
    this.root = root;
    this.#folders = new Set([root]);
  }

  // --- files

  #absolute(path, folder = this.root) {
    const parts = [];
    for (const part of (path.startsWith("/") ? path : `${folder}/${path}`).split("/")) {
      if (part === "..") parts.pop();
      else if (part !== "" && part !== ".") parts.push(part);
    }
    return `/${parts.join("/")}`;
  }

  read(path, folder) {
    const data = this.#files.get(this.#absolute(path, folder));
    if (data === undefined) throw new Error(`ENOENT: no such file or directory, open '${path}'`);
    return data;
  }

  write(path, data, folder) {
    this.#files.set(this.#absolute(path, folder), data);
  }

  makeFolder(path) {
    this.#folders.add(this.#absolute(path));
  }

  isFolder(path, folder) {
    return this.#folders.has(this.#absolute(path, folder));
  }

  list(path, folder) {
    const start = `${this.#absolute(path, folder)}/`;
    const below = [...this.#files.keys(), ...this.#folders].filter((name) => name.startsWith(start));
    const names = new Set(below.map((name) => name.slice(start.length).split("/")[0]));
    return [...names].sort().map((name) => [name, !this.#files.has(start + name)]);
  }

  remove(path) {
    const gone = this.#absolute(path);
    for (const names of [this.#files, this.#folders])
      for (const name of [...names.keys()]) if (name === gone || name.startsWith(`${gone}/`)) names.delete(name);
  }

  load(tree, mountPoint) {
    const folder = this.#absolute(mountPoint ?? ".");
    if (!this.#folders.has(folder)) throw new Error(`ENOENT: no such directory '${folder}'`);
    this.#loadInto(folder, tree);
  }

  #loadInto(folder, { d }) {
    this.#folders.add(folder);
    for (const [name, entry] of Object.entries(d)) {
      if ("d" in entry) this.#loadInto(`${folder}/${name}`, entry);
      else this.#files.set(`${folder}/${name}`, entry.f.b ? latin1(entry.f.c) : encoder.encode(entry.f.c));
    }
  }

  // --- processes and ports

  start(words, options) {
    const cwd = this.#absolute(options.cwd ?? ".");
    if (words[0] !== "jsh" && !(words[0] in PROGRAMS)) throw new Error(`command not found: ${words[0]}`);
    const process = new Process(this, { ...options, cwd });
    this.#processes.add(process);
    process.run(words).finally(() => this.#processes.delete(process));
    return process.handle();
  }

  get running() {
    return this.#processes.size;
  }

  on(event, listener) {
    const entry = { event, listener };
    this.#listeners.push(entry);
    return () => this.#listeners.splice(this.#listeners.indexOf(entry), 1);
  }

  listen(port, handler) {
    this.sites.set(port, handler);
    this.#tellPort(port, "open");
  }

  unlisten(port) {
    if (this.sites.delete(port)) this.#tellPort(port, "close");
  }

  #tellPort(port, type) {
    for (const { event, listener } of this.#listeners)
      if (event === "port") listener(port, type, `${location.origin}/site/${port}/`);
  }

  /** What a site answers to `GET url`. */
  get(port, url) {
    return new Promise((resolve) => {
      let head = [];
      const response = {
        writeHead: (...given) => {
          head = given;
        },
        end: (data) => resolve({ status: head[0], headers: head[1], text: new TextDecoder().decode(encoded(data)) }),
      };
      this.sites.get(port)({ url }, response);
    });
  }

  end() {
    for (const process of this.#processes) process.die();
    this.#listeners = [];
  }
}

const encoded = (data) => (typeof data === "string" ? encoder.encode(data) : data);
const latin1 = (text) => Uint8Array.from(text, (character) => character.charCodeAt(0));

class Killed extends Error {}

class Process {
  #input = "";
  #wake = () => {};
  #kill = () => {};
  #exited = () => {};
  #killed = new Promise((_, reject) => {
    this.#kill = () => reject(new Killed());
  });
  isStubborn = false;
  ports = [];

  constructor(kernel, { cwd, env, terminal, output }) {
    Object.assign(this, { kernel, cwd, env, terminal, output });
    this.#killed.catch(() => {});
    this.onExit = new Promise((resolve) => {
      this.#exited = resolve;
    });
  }

  /** What the library holds. */
  handle() {
    return {
      onExit: this.onExit,
      write: (text) => this.hear(text),
      resize: (size) => {
        this.terminal = size;
        this.#wake();
      },
      kill: () => this.isStubborn || this.die(),
    };
  }

  die() {
    this.#kill();
  }

  hear(text) {
    this.#input += text;
    this.#wake();
  }

  async run([program, ...args]) {
    let code = 143;
    try {
      code = program === "jsh" ? await this.#line(args[1] ?? "") : await PROGRAMS[program](this, args);
    } catch (error) {
      if (!(error instanceof Killed)) code = this.#complain(error);
    }
    for (const port of this.ports) this.kernel.unlisten(port);
    this.#exited(code);
    this.output(null);
  }

  #complain(error) {
    this.print(`${error.message}\n`);
    return 1;
  }

  /** Commands with `;` and `&&` between them. */
  async #line(text) {
    let code = 0;
    for (const [, joint, part] of text.matchAll(/(&&|;|^)\s*((?:"[^"]*"|'[^']*'|[^;&"'])*)/g)) {
      if (joint === "&&" && code !== 0) continue;
      if (part.trim() === "") continue;
      code = await this.#command(part);
      if (this.isOver) break;
    }
    return code;
  }

  async #command(text) {
    const [command, target] = text.split(" > ");
    const [program, ...args] = [...command.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map((m) => m[1] ?? m[2] ?? m[3]);
    if (!(program in PROGRAMS)) {
      this.print(`jsh: command not found: ${program}\n`);
      return 127;
    }
    if (target === undefined) return PROGRAMS[program](this, args);
    const kept = [];
    const { output } = this;
    this.output = (data) => kept.push(...data);
    const code = await PROGRAMS[program](this, args);
    this.output = output;
    this.kernel.write(target.trim(), Uint8Array.from(kept), this.cwd);
    return code;
  }

  print(data) {
    this.output(encoded(data));
  }

  /** Resolves with the process' end, if that comes first. */
  orKilled(promise) {
    return Promise.race([promise, this.#killed]);
  }

  /** Waits for input or another size of the terminal until `taken` gives something. */
  async until(taken) {
    for (;;) {
      const found = taken(this.#input);
      if (found !== undefined) return found;
      await this.orKilled(
        new Promise((resolve) => {
          this.#wake = resolve;
        }),
      );
    }
  }
}

const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * Number(seconds)));

/** Each takes its process and arguments, and gives its exit code. */
const PROGRAMS = {
  true: async () => 0,
  false: async () => 1,
  async exit(process, [code]) {
    process.isOver = true;
    return Number(code ?? 0);
  },
  async echo(process, words) {
    process.print(`${words.join(" ")}\n`);
    return 0;
  },
  async pwd(process) {
    process.print(`${process.cwd}\n`);
    return 0;
  },
  async printenv(process, [name]) {
    process.print(`${process.env[name]}\n`);
    return 0;
  },
  async cat(process, names) {
    for (const name of names) process.print(process.kernel.read(name, process.cwd).slice());
    return 0;
  },
  async ls(process) {
    for (const [name] of process.kernel.list(".", process.cwd)) process.print(`${name}\n`);
    return 0;
  },
  async sleep(process, [seconds]) {
    await process.orKilled(sleep(seconds));
    return 0;
  },
  /** Prints a text byte by byte: no piece of a character is one. */
  async crumbs(process, words) {
    for (const byte of encoder.encode(`${words.join(" ")}\n`)) process.print(Uint8Array.of(byte));
    return 0;
  },
  /** Prints so many numbered lines of 100 bytes, as fast as it can. */
  async spill(process, [lines]) {
    let text = "";
    for (let n = 1; n <= Number(lines); n += 1) {
      text += `${String(n).padStart(99, ".")}\n`;
      if (text.length > 50_000 || n === Number(lines)) {
        process.print(text);
        text = "";
        await process.orKilled(sleep(0));
      }
    }
    return 0;
  },
  /** Prints a numbered line every tenth of a second. */
  async tick(process, [times]) {
    for (let n = 1; n <= Number(times); n += 1) {
      process.print(`tick ${n}\n`);
      await process.orKilled(sleep(0.1));
    }
    return 0;
  },
  /** Ends only with the machine. */
  async stubborn(process) {
    process.isStubborn = true;
    process.print("never\n");
    await process.orKilled(new Promise(() => {}));
    return 0;
  },
  /** Says again what it is told, until the end of its input. */
  async parrot(process) {
    const heard = await process.until((input) => (input.includes("\x04") ? input.split("\x04")[0] : undefined));
    process.print(`heard ${heard}`);
    return 0;
  },
  /** Waits until its terminal is another. */
  async stretch(process) {
    const before = process.terminal?.cols;
    process.print(`now ${before}\n`);
    const { cols, rows } = await process.until(() =>
      process.terminal?.cols === before ? undefined : process.terminal,
    );
    process.print(`then ${cols}x${rows}\n`);
    return 0;
  },
  async listen(process, [port]) {
    process.ports.push(Number(port));
    process.kernel.listen(Number(port), (_request, response) => response.end("listening"));
    await process.orKilled(new Promise(() => {}));
    return 0;
  },
  async node(process, [script, ...args]) {
    const source = new TextDecoder().decode(process.kernel.read(script, process.cwd));
    const its = { cwd: () => process.cwd, argv: ["node", script, ...args] };
    new Function("require", "process", source)((name) => modules(process)[name], its);
    await process.orKilled(new Promise(() => {}));
    return 0;
  },
};

/** As much of Node as a server of files needs. */
function modules(process) {
  const { kernel } = process;
  const normalize = (path) => {
    const parts = [];
    for (const part of path.split("/")) {
      if (part === "..") parts.pop();
      else if (part !== "" && part !== ".") parts.push(part);
    }
    return `/${parts.join("/")}`;
  };
  const listening = (handler) => ({
    listen(port) {
      process.ports.push(port);
      kernel.listen(port, handler);
    },
  });
  return {
    http: { createServer: listening },
    path: {
      normalize,
      join: (...parts) => normalize(parts.join("/")),
      extname: (path) => /\.[^./]*$/.exec(path)?.[0] ?? "",
    },
    fs: {
      readFileSync: (path) => kernel.read(path),
      statSync: (path) => ({ isDirectory: () => kernel.isFolder(path) || (kernel.read(path), false) }),
    },
  };
}
