import { useEffect, useState } from "preact/hooks";

import type { Topics } from "../client/index.ts";
import { session } from "./store.ts";

/** What a watched list holds, by the name of its items; null before it was told, and while `isWanted` is not. */
export function useWatched<T extends "sandboxes" | "instances">(
  topic: T,
  idOf: (item: Topics[T]) => string,
  isWanted = true,
) {
  const [items, setItems] = useState<Topics[T][] | null>(null);
  useEffect(() => {
    if (!isWanted) return;
    return session.watch(topic, (update) => {
      if ("items" in update) setItems(update.items);
      else setItems((known) => merged(known ?? [], update.item, idOf));
    });
  }, [topic, idOf, isWanted]);
  return items;
}

function merged<Item>(
  known: Item[],
  item: Item & { removed?: boolean },
  idOf: (item: Item) => string,
): Item[] {
  const others = known.filter((other) => idOf(other) !== idOf(item));
  if (item.removed) return others;
  return [...others, item].sort((a, b) => idOf(a).localeCompare(idOf(b)));
}

export const sandboxId = ({ instance, sandbox_id }: Topics["sandboxes"]) => `${instance} ${sandbox_id}`;
export const instanceId = ({ instance }: Topics["instances"]) => instance;
