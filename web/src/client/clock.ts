/** Time and chance are inputs, so that tests can turn the clock. */
export interface Clock {
  /** Milliseconds since any fixed point. */
  now(): number;
  /** Calls back once after `ms`; the function it returns takes the call back. */
  after(ms: number, callback: () => void): () => void;
  /** A number in [0, 1). */
  random(): number;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  after: (ms, callback) => {
    const timer = setTimeout(callback, ms);
    return () => clearTimeout(timer);
  },
  random: () => Math.random(),
};
