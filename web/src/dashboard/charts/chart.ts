/** uPlot as this page uses it; loaded when a chart is first looked at. */

import "uplot/dist/uPlot.min.css";

import uPlot from "uplot";

/** Seconds since 1970, then the values of each line. */
export type ChartData = [number[], ...(number | null)[][]];

export interface Line {
  word: string;
  /** A custom property of the page's, so that a change of theme changes it. */
  colour: `--${string}`;
  isFilled?: boolean;
  isDashed?: boolean;
}

export interface Chart {
  show(data: ChartData): void;
  redraw(): void;
  dispose(): void;
}

const HEIGHT_PX = 160;
/** Between two marks of an axis. */
const MIN_SPACE_PX = { x: 80, y: 32 };

/** Between two marks of the axis of time. */
const STEPS_S = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600, 7_200, 21_600, 43_200, 86_400];

export function openChart(element: HTMLElement, lines: Line[], data: ChartData): Chart {
  const font = `12px ${getComputedStyle(element).fontFamily}`;
  const axis = { stroke: () => colour("--muted"), font, ticks: { show: false } };
  const grid = { stroke: () => colour("--line"), width: 1 };
  const options: uPlot.Options = {
    width: Math.max(1, element.clientWidth),
    height: HEIGHT_PX,
    legend: { show: false },
    cursor: { show: false },
    // The last mark is as wide as half of its time.
    padding: [8, 32, 0, 0],
    scales: { y: { range: (_plot, _min, max) => [0, Math.max(1, max * 1.1)] } },
    axes: [
      { ...axis, grid: { show: false }, space: MIN_SPACE_PX.x, size: 28, incrs: STEPS_S, values: clocks },
      {
        ...axis,
        grid,
        space: MIN_SPACE_PX.y,
        size: 44,
        incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000, 20000],
      },
    ],
    series: [{}, ...lines.map(seriesOf)],
  };
  const plot = new uPlot(options, data as uPlot.AlignedData, element);
  const fit = () => plot.setSize({ width: Math.max(1, element.clientWidth), height: HEIGHT_PX });
  // In the next frame: what changes sizes while they are observed is complained of.
  const observer = new ResizeObserver(() => requestAnimationFrame(fit));
  observer.observe(element);
  return {
    show: (shown) => plot.setData(shown as uPlot.AlignedData),
    redraw: () => plot.redraw(),
    dispose: () => {
      observer.disconnect();
      plot.destroy();
    },
  };
}

/** "14:05", with seconds where marks are closer than a minute. */
function clocks(_plot: uPlot, marks: number[], _axis: number, _space: number, stepS: number): string[] {
  const chars = stepS < 60 ? 8 : 5;
  return marks.map((mark) => new Date(mark * 1000).toLocaleTimeString("en-GB").slice(0, chars));
}

function seriesOf({ colour: name, isFilled = false, isDashed = false }: Line): uPlot.Series {
  return {
    stroke: () => colour(name),
    width: 2,
    points: { show: false },
    ...(uPlot.paths.stepped ? { paths: uPlot.paths.stepped({ align: 1 }) } : {}),
    ...(isFilled ? { fill: () => `color-mix(in srgb, ${colour(name)} 16%, transparent)` } : {}),
    ...(isDashed ? { dash: [4, 4], width: 1.5 } : {}),
  };
}

/** As the theme has it now: a canvas knows no custom property, nor `light-dark()`. */
function colour(name: string): string {
  const probe = document.body;
  const value = getComputedStyle(probe).getPropertyValue(name).trim();
  const both = /^light-dark\((.+),\s*(.+)\)$/.exec(value);
  if (both === null) return value;
  const isDark = isDarkNow(probe);
  return (isDark ? both[2] : both[1]) ?? value;
}

function isDarkNow(element: HTMLElement): boolean {
  const scheme = getComputedStyle(element).colorScheme;
  if (scheme === "dark" || scheme === "light") return scheme === "dark";
  return matchMedia("(prefers-color-scheme: dark)").matches;
}
