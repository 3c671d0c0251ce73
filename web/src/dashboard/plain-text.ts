// biome-ignore-all lint/suspicious/noControlCharactersInRegex: control characters are what is looked for

/** What a terminal would act on, taken out of a stream that comes in pieces, so that only text is left. */

/** CSI, OSC, the other strings, and the short sequences. */
const SEQUENCE =
  /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[PX^_][^\x1b]*\x1b\\|[ -/]*[0-~])/g;
/** The same, cut off by the end of the piece. */
const UNFINISHED = /\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]*\x1b?|[PX^_][^\x1b]*\x1b?|[ -/]*)$/;
const CONTROLS = /[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]/g;
/** A sequence that is longer than this is no sequence. */
const LONGEST_SEQUENCE = 4_096;

export class PlainText {
  #unfinished = "";

  /** The piece without escape sequences and control characters; newline, return and tab stay. */
  take(piece: string): string {
    const text = this.#unfinished + piece;
    const cut = UNFINISHED.exec(text)?.index ?? text.length;
    this.#unfinished = text.length - cut <= LONGEST_SEQUENCE ? text.slice(cut) : "";
    return text.slice(0, cut).replace(SEQUENCE, "").replace(CONTROLS, "");
  }
}

/** The same as lines; one that was written over and over is what it was at last. */
export class PlainLines {
  readonly #plain = new PlainText();
  #open = "";

  /** The lines that end in this piece. */
  take(piece: string): string[] {
    const lines = (this.#open + this.#plain.take(piece)).split(/\r*\n/);
    this.#open = (lines.pop() ?? "").replace(/^.*\r(?=[^\r])/s, "");
    return lines.map(lastWritten);
  }

  /** The line that has not ended. */
  get open(): string {
    return lastWritten(this.#open);
  }
}

function lastWritten(line: string): string {
  return line.slice(line.lastIndexOf("\r") + 1);
}
