// Charts over time, by uPlot. Their colours are the page's own, in light and dark.

import { h, say, set } from "./elements.js";
import { clock, NONE } from "./figures.js";

/** The colours that charts tell things apart by, as the style sheet names them. */
export const HUES = ["--chart-1", "--chart-2", "--chart-3", "--chart-4", "--chart-5", "--chart-6"];

const dark = matchMedia("(prefers-color-scheme: dark)");
const redraw = new Set();
const again = () => redraw.forEach((chart) => chart());
dark.addEventListener("change", again);
addEventListener("themechange", again);

/** A custom property as a colour that a canvas understands. */
export function colour(name) {
  const probe = h("span", { class: "probe" });
  document.body.append(probe);
  probe.style.color = `var(${name})`;
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

/**
 * A chart of lines: `series` are { label, hue, fill }, `write` writes a value with its unit. `update(times, columns)` takes
 * times in seconds and a column of values, or nulls, for each series.
 */
export function lines({ title, series, write, height = 130 }) {
  const values = series.map((one) => h("span", { class: "value" }, NONE));
  const legend = h("ul", { class: "legend" },
    series.map((one, place) => h("li", {}, h("i", { class: `dot hue-${place + 1}`, "data-hue": one.hue }), one.label, " ", values[place])));
  const host = h("div", { class: "plot", role: "img" });
  const element = h("figure", { class: "chart" }, h("figcaption", {}, h("h3", {}, title), legend), host);
  let data = [[], ...series.map(() => [])];
  let plot = null;
  let cursor = null;

  const speak = () => {
    const place = cursor ?? data[0].length - 1;
    series.forEach((_, number) => say(values[number], write(data[number + 1][place])));
    const words = series.map((one, number) => `${one.label} ${write(data[number + 1][data[0].length - 1])}`);
    set(host, "aria-label", `${title}, now: ${words.join(", ")}`);
  };

  const draw = () => {
    plot?.destroy();
    plot = null;
    const width = host.clientWidth;
    if (!width || data[0].length === 0) return;
    const [ink, grid] = [colour("--muted"), colour("--line")];
    const axis = { stroke: ink, font: "11px system-ui, sans-serif", grid: { stroke: grid, width: 1 }, ticks: { show: false } };
    plot = new uPlot(
      {
        width,
        height,
        // The last tick's words need room on the right.
        padding: [8, 24, 0, 0],
        legend: { show: false },
        cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
        scales: {
          // By the times themselves: of a single one uPlot would make a day.
          x: { time: true, range: () => [Math.min(data[0][0], data[0].at(-1) - 60), data[0].at(-1)] },
          y: { range: (_, low, high) => [0, high > 0 ? high * 1.1 : 1] },
        },
        axes: [
          { ...axis, space: 56, size: 24, values: (_, ticks) => ticks.map((tick) => (tick % 60 ? clock(tick * 1000) : clock(tick * 1000).slice(0, 5))) },
          { ...axis, size: 62, space: 32, values: (_, ticks) => ticks.map((tick) => write(tick)) },
        ],
        series: [
          {},
          ...series.map((one) => ({
            label: one.label,
            stroke: colour(one.hue),
            fill: one.fill ? colour(`${one.hue}-fill`) : undefined,
            width: 1.5,
            spanGaps: false,
            points: { show: false },
          })),
        ],
        hooks: {
          setCursor: [
            (self) => {
              cursor = self.cursor.idx ?? null;
              speak();
            },
          ],
        },
      },
      data,
      host,
    );
  };

  const watcher = new ResizeObserver(() => {
    if (plot && plot.width === host.clientWidth) return;
    if (plot && host.clientWidth) plot.setSize({ width: host.clientWidth, height });
    else draw();
  });
  watcher.observe(host);
  redraw.add(draw);

  return {
    element,
    update(times, columns) {
      data = [times, ...columns];
      if (times.length === 0) return;
      if (plot) plot.setData(data);
      else draw();
      speak();
    },
    close() {
      watcher.disconnect();
      redraw.delete(draw);
      plot?.destroy();
    },
  };
}

/**
 * A chart of stacked bars: `update` takes { title, write, every, times, series: [{ label, hue, values }] }.
 */
export function bars({ title, height = 190 }) {
  const heading = h("h3", {}, title);
  const legend = h("ul", { class: "legend" });
  const host = h("div", { class: "plot tall", role: "img" });
  const element = h("figure", { class: "chart" }, h("figcaption", {}, heading, legend), host);
  let shown = null;
  let plot = null;

  const draw = () => {
    plot?.destroy();
    plot = null;
    const width = host.clientWidth;
    if (!width || !shown || shown.times.length === 0) return;
    const { times, series, write, every } = shown;
    const step = every === "day" ? 86_400 : 3_600;
    // Each above those before it; drawn from the highest down, so that each covers the part of the others.
    const stacked = series.map((_, upTo) => times.map((_, at) => series.slice(0, upTo + 1).reduce((sum, one) => sum + one.values[at], 0))).reverse();
    const [ink, grid] = [colour("--muted"), colour("--line")];
    const axis = { stroke: ink, font: "11px system-ui, sans-serif", grid: { stroke: grid, width: 1 }, ticks: { show: false } };
    const word = (tick) => (every === "day" ? new Date(tick * 1000).toLocaleDateString("en-GB", { day: "numeric", month: "short", timeZone: "UTC" }) : clock(tick * 1000).slice(0, 5));
    plot = new uPlot(
      {
        width,
        height,
        padding: [8, 8, 0, 0],
        legend: { show: false },
        cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
        scales: {
          x: { time: true, range: () => [Math.min(times[0], times.at(-1) - step * 11) - step / 2, times.at(-1) + step / 2] },
          y: { range: (_, low, high) => [0, high > 0 ? high * 1.1 : 1] },
        },
        axes: [
          { ...axis, size: 24, space: 60, grid: { show: false }, values: (_, ticks) => ticks.map(word) },
          { ...axis, size: 70, space: 36, values: (_, ticks) => ticks.map((tick) => write(tick)) },
        ],
        series: [
          {},
          ...series.map((one) => ({ label: one.label, fill: colour(one.hue), stroke: colour(one.hue), width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.7, 44] }) })).reverse(),
        ],
        hooks: { setCursor: [(self) => speak(self.cursor.idx ?? null)] },
      },
      [times, ...stacked],
      host,
    );
  };

  const speak = (at) => {
    const { series, write, times, every } = shown;
    const value = (one) => (at === null ? one.values.reduce((sum, value) => sum + value, 0) : (one.values[at] ?? 0));
    const when = at === null || times[at] === undefined ? "" : `, ${every === "day" ? new Date(times[at] * 1000).toLocaleDateString("en-GB", { day: "numeric", month: "short", timeZone: "UTC" }) : clock(times[at] * 1000).slice(0, 5)}`;
    say(heading, `${shown.title}${when}`);
    legend.replaceChildren(...series.map((one) => h("li", {}, h("i", { class: "dot", "data-hue": one.hue }), one.label, " ", h("span", { class: "value" }, write(value(one))))));
    set(host, "aria-label", `${shown.title}: ${series.map((one) => `${one.label} ${write(value(one))}`).join(", ")}`);
  };

  const watcher = new ResizeObserver(() => {
    if (plot && plot.width !== host.clientWidth || !plot) draw();
  });
  watcher.observe(host);
  redraw.add(draw);

  return {
    element,
    update(what) {
      shown = what;
      speak(null);
      draw();
    },
    close() {
      watcher.disconnect();
      redraw.delete(draw);
      plot?.destroy();
    },
  };
}
