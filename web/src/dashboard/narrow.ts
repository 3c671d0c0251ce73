import { signal } from "@preact/signals";

const query = matchMedia("(max-width: 760px)");

/** Whether there is room for one thing at a time. */
export const narrow = signal(query.matches);
query.addEventListener("change", () => {
  narrow.value = query.matches;
});
