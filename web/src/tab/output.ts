/**
 * A session's output on its way out: whole characters, gathered, limited; head and tail kept for the record.
 *
 * A WebContainer can't be held back: what comes faster than it is taken waits here, up to a bound, and beyond it is
 * left out, which is said. All counts are of UTF-8 bytes as they are delivered.
 */

import { MAX_TEXT_BYTES } from "./frames.ts";

/** What may wait to be sent. */
export const MAX_WAITING_BYTES = 4 << 20;
const CRUMB_BYTES = 8 << 10;
const HALF_BYTES = (MAX_TEXT_BYTES - 64) / 2;
const encoder = new TextEncoder();

export type Piece =
  | { kind: "text"; data: Uint8Array }
  | { kind: "gap"; dropped: number | null; reason: string };

/** How many bytes of the UTF-8 `data`, at most `most`, make whole characters. */
export function cut(data: Uint8Array, most: number): number {
  if (most >= data.length) return data.length;
  let size = most;
  while (size > 0 && ((data[size] as number) & 0xc0) === 0x80) size -= 1;
  return size;
}

export class OutputFlow {
  waitingBytes = 0;
  #waiting: Piece[] = [];
  #left: number;
  readonly #delivers: boolean;
  #decoder = new TextDecoder();
  #kept = new HeadAndTail();
  /** What is beyond the limit, since it was reached in this command. */
  #beyond: Tail | null = null;

  /** At most `limitBytes` in all; without `delivers` nothing is to be sent, only kept. */
  constructor(limitBytes: number, delivers: boolean) {
    this.#left = limitBytes;
    this.#delivers = delivers;
  }

  get isWaiting(): boolean {
    return this.#waiting.length > 0;
  }

  /** Takes what the command wrote; a character may come in parts. */
  feed(raw: Uint8Array): void {
    this.#takeIn(encoder.encode(this.#decoder.decode(raw, { stream: true })));
  }

  #takeIn(data: Uint8Array): void {
    if (data.length === 0) return;
    this.#kept.feed(data);
    if (!this.#delivers) return;
    const fits = this.#beyond === null ? cut(data, this.#left) : 0;
    this.#left -= fits;
    if (fits > 0) this.#append(data.subarray(0, fits));
    if (fits < data.length) this.#leaveOut(data.subarray(fits));
  }

  #append(data: Uint8Array): void {
    const room = MAX_WAITING_BYTES - this.waitingBytes;
    const fits = cut(data, room);
    if (fits > 0) this.#hold(data.subarray(0, fits));
    if (fits < data.length) this.#overflow(data.length - fits);
  }

  #hold(data: Uint8Array): void {
    this.waitingBytes += data.length;
    const last = this.#waiting.at(-1);
    // What comes in crumbs is held in few pieces.
    if (last?.kind === "text" && last.data.length + data.length <= CRUMB_BYTES)
      last.data = joined([last.data, data], last.data.length + data.length);
    else this.#waiting.push({ kind: "text", data: data.slice() });
  }

  #overflow(bytes: number): void {
    const last = this.#waiting.at(-1);
    if (last?.kind === "gap" && last.reason === "overflow") last.dropped = (last.dropped ?? 0) + bytes;
    else this.#waiting.push({ kind: "gap", dropped: bytes, reason: "overflow" });
  }

  #leaveOut(data: Uint8Array): void {
    if (this.#beyond === null) {
      this.#beyond = new Tail(MAX_TEXT_BYTES);
      this.#waiting.push({ kind: "gap", dropped: null, reason: "limit" });
    }
    this.#beyond.feed(data);
  }

  /** The next thing to send; null where there is none, or it is text and `most` has no room for any. */
  take(most: number): Piece | null {
    const first = this.#waiting[0];
    if (first === undefined || (first.kind === "text" && most === 0)) return null;
    if (first.kind === "gap") return this.#waiting.shift() as Piece;
    return { kind: "text", data: this.#takeText(Math.min(most, MAX_TEXT_BYTES)) };
  }

  /** Texts that follow each other, as one of at most `most` bytes. */
  #takeText(most: number): Uint8Array {
    const parts: Uint8Array[] = [];
    let size = 0;
    for (let first = this.#waiting[0]; first?.kind === "text" && size < most; first = this.#waiting[0]) {
      const fits = cut(first.data, most - size);
      if (fits === 0) break;
      parts.push(first.data.subarray(0, fits));
      size += fits;
      if (fits === first.data.length) this.#waiting.shift();
      else first.data = first.data.subarray(fits);
    }
    this.waitingBytes -= size;
    return joined(parts, size);
  }

  /** Closes the books of a command: what is left is to be sent; returns what was kept, and whether that is cut. */
  endCommand(): { text: string; truncated: boolean } {
    this.#takeIn(encoder.encode(this.#decoder.decode()));
    this.#decoder = new TextDecoder();
    if (this.#beyond !== null) this.#showTail(this.#beyond);
    const kept = this.#kept;
    this.#kept = new HeadAndTail();
    return kept.text();
  }

  #showTail(beyond: Tail): void {
    this.#beyond = null;
    const tail = beyond.data();
    this.#waiting.push({ kind: "gap", dropped: beyond.total - tail.length, reason: "limit" });
    // It is little, and the end of a command is what people look for.
    this.#waiting.push({ kind: "text", data: tail });
    this.waitingBytes += tail.length;
  }

  /** Drops what waits; how much that was. */
  giveUp(): number {
    const sizes = this.#waiting.map((piece) =>
      piece.kind === "text" ? piece.data.length : (piece.dropped ?? 0),
    );
    this.#waiting = [];
    this.waitingBytes = 0;
    return sizes.reduce((sum, size) => sum + size, 0);
  }
}

/** The last bytes of a stream, whole characters, and how many there were in all. */
class Tail {
  total = 0;
  #parts: Uint8Array[] = [];
  #size = 0;
  readonly #most: number;

  constructor(most: number) {
    this.#most = most;
  }

  feed(data: Uint8Array): void {
    this.total += data.length;
    this.#size += data.length;
    this.#parts.push(data.slice());
    while (this.#size - (this.#parts[0] as Uint8Array).length >= this.#most)
      this.#size -= (this.#parts.shift() as Uint8Array).length;
  }

  data(): Uint8Array {
    const all = joined(this.#parts, this.#size);
    let start = Math.max(0, all.length - this.#most);
    while (start < all.length && ((all[start] as number) & 0xc0) === 0x80) start += 1;
    return all.subarray(start);
  }
}

class HeadAndTail {
  #head: Uint8Array[] = [];
  #headSize = 0;
  #tail = new Tail(HALF_BYTES);

  feed(data: Uint8Array): void {
    const fits = cut(data, HALF_BYTES - this.#headSize);
    // Once something went to the tail, all does: nothing may stand before what came earlier.
    if (fits > 0 && this.#tail.total === 0) {
      this.#head.push(data.slice(0, fits));
      this.#headSize += fits;
      if (fits < data.length) this.#tail.feed(data.subarray(fits));
    } else this.#tail.feed(data);
  }

  text(): { text: string; truncated: boolean } {
    const decoder = new TextDecoder();
    const head = decoder.decode(joined(this.#head, this.#headSize));
    if (this.#tail.total === 0) return { text: head, truncated: false };
    const tail = this.#tail.data();
    const dropped = this.#tail.total - tail.length;
    const between = dropped === 0 ? "" : `\n[… ${dropped} bytes left out …]\n`;
    return { text: head + between + decoder.decode(tail), truncated: dropped > 0 };
  }
}

function joined(parts: Uint8Array[], size: number): Uint8Array {
  const all = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
