/** A tar archive of files, as pieces that are never joined: what is on a disk stays there until it is sent. */

export type FileSource = string | Uint8Array<ArrayBuffer> | Blob;
/** Files by their relative path. */
export type FileSet = Readonly<Record<string, FileSource>> | Iterable<readonly [string, FileSource]>;

type Part = Uint8Array<ArrayBuffer> | Blob;

const BLOCK = 512;
const encoder = new TextEncoder();

/** The files as an archive in the format of POSIX (pax). */
export function tar(files: FileSet): Blob {
  const entries = Symbol.iterator in files ? files : Object.entries(files);
  const parts: Part[] = [];
  for (const [path, source] of entries) parts.push(...entry(path, new Blob([source])));
  parts.push(new Uint8Array(2 * BLOCK));
  return new Blob(parts, { type: "application/x-tar" });
}

/** The path stands in a record of its own, since a plain header has room for 100 bytes and ASCII alone. */
function entry(path: string, content: Blob): Part[] {
  const record = paxRecord("path", path);
  return [
    header("pax", record.length, "x"),
    record,
    padding(record.length),
    header("file", content.size, "0"),
    content,
    padding(content.size),
  ];
}

/** `LENGTH key=value\n`, where the length counts itself. */
function paxRecord(key: string, value: string): Uint8Array<ArrayBuffer> {
  const rest = encoder.encode(` ${key}=${value}\n`).length;
  let length = rest;
  while (length !== rest + String(length).length) length = rest + String(length).length;
  return encoder.encode(`${length} ${key}=${value}\n`);
}

function header(name: string, size: number, type: string): Uint8Array<ArrayBuffer> {
  const block = new Uint8Array(BLOCK);
  const write = (at: number, text: string) => block.set(encoder.encode(text), at);
  write(0, name);
  write(100, "0000644\0");
  write(108, "0000000\0");
  write(116, "0000000\0");
  write(124, `${size.toString(8).padStart(11, "0")}\0`);
  write(136, "00000000000\0");
  write(148, " ".repeat(8));
  write(156, type);
  write(257, "ustar\x0000");
  const sum = block.reduce((total, byte) => total + byte, 0);
  write(148, `${sum.toString(8).padStart(6, "0")}\0 `);
  return block;
}

function padding(size: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array((BLOCK - (size % BLOCK)) % BLOCK);
}
