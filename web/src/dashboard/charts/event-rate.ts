/** How many events a task made, second by second; of a long life, in longer steps. */

const MAX_STEPS = 240;

export class EventRate {
  #stepS = 1;
  #firstS: number | null = null;
  #counts: number[] = [];

  /** Seconds of one step. */
  get stepS(): number {
    return this.#stepS;
  }

  push(time: string): void {
    const atS = Math.floor(Date.parse(time) / 1000);
    this.#firstS ??= atS;
    // Another instance's clock may be behind that of the first.
    const second = Math.max(0, atS - this.#firstS);
    while (second / this.#stepS >= MAX_STEPS) this.#widen();
    const step = Math.floor(second / this.#stepS);
    while (this.#counts.length <= step) this.#counts.push(0);
    this.#counts[step] = (this.#counts[step] ?? 0) + 1;
  }

  /** Where each step begins, and the last ends, in seconds since 1970; and events a second from there on. */
  data(): [number[], number[]] {
    const first = this.#firstS ?? 0;
    const counts = [...this.#counts, this.#counts.at(-1) ?? 0];
    return [
      counts.map((_, step) => first + step * this.#stepS),
      counts.map((count) => Math.round((count / this.#stepS) * 10) / 10),
    ];
  }

  #widen(): void {
    this.#stepS *= 2;
    const pairs = Math.ceil(this.#counts.length / 2);
    this.#counts = Array.from(
      { length: pairs },
      (_, index) => (this.#counts[2 * index] ?? 0) + (this.#counts[2 * index + 1] ?? 0),
    );
  }
}
