import { useEffect, useRef } from "preact/hooks";

import { theme } from "../theme.ts";
import type { Chart, ChartData, Line } from "./chart.ts";

interface Props {
  /** What is drawn, in words, for whoever doesn't see it. */
  label: string;
  lines: Line[];
  data: ChartData;
  /** What is said of each line; its newest value, where nothing is. */
  words?: string[];
}

/** A chart over time with its lines' newest values in words. */
export function ChartPane({ label, lines, data, words = newest(data) }: Props) {
  const place = useRef<HTMLDivElement>(null);
  const chart = useRef<Chart | null>(null);
  const latest = useRef(data);
  latest.current = data;
  const scheme = theme.value;
  useEffect(() => {
    let isGone = false;
    void import("./chart.ts").then(({ openChart }) => {
      if (!isGone && place.current !== null) chart.current = openChart(place.current, lines, latest.current);
    });
    return () => {
      isGone = true;
      chart.current?.dispose();
      chart.current = null;
    };
  }, [lines]);
  useEffect(() => chart.current?.show(data), [data]);
  useEffect(() => {
    void scheme;
    chart.current?.redraw();
  }, [scheme]);
  return (
    <figure class="chart">
      <div
        ref={place}
        class="chart-place"
        role="img"
        aria-label={`${label}: ${lines.map(({ word }, index) => `${word} ${words[index]}`).join(", ")}`}
      />
      <figcaption class="legend">
        {lines.map(({ word, colour }, index) => (
          <span key={word} class={`chart-key key${colour}`}>
            <span class="legend-word">{word}</span> <span class="legend-time">{words[index]}</span>
          </span>
        ))}
      </figcaption>
    </figure>
  );
}

function newest([, ...values]: ChartData): string[] {
  return values.map((line) => (line.at(-1) ?? 0).toLocaleString("en"));
}
