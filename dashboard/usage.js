// What was used, by whom and for what: a total, the course of time, and a line for each model, key, provider or tag.

import { bars, HUES } from "./charts.js";
import { empty, field, fill, h, notice, say, set } from "./elements.js";
import * as figures from "./figures.js";
import { get } from "./gateway.js";

const RANGES = [["1d", "24 hours", "hour"], ["7d", "7 days", "day"], ["30d", "30 days", "day"], ["90d", "90 days", "day"]];
const BYS = [["model", "Model"], ["key", "Key"], ["provider", "Provider"], ["tag", "Tag"]];
const MEASURES = {
  cost: ["Cost", (row) => row.cost_usd, figures.usd],
  requests: ["Requests", (row) => row.requests, figures.count],
  tokens: ["Tokens", (row) => row.tokens_in + row.tokens_out, figures.count],
  errors: ["Errors", (row) => row.errors, figures.count],
};
/** Names that have a colour of their own; the rest are summed. */
const NAMED = HUES.length - 1;
const REST = "all others";

export function mount(host) {
  const select = (options, value) => {
    const made = h("select", {}, options.map(([value, text]) => h("option", { value }, text)));
    made.value = value;
    return made;
  };
  const range = select(RANGES, "1d");
  const by = select(BYS, "model");
  const measure = select(Object.entries(MEASURES).map(([value, [text]]) => [value, text]), "cost");
  const said = notice();
  const tiles = h("dl", { class: "tiles" });
  const chart = bars({ title: "Cost" });
  const body = h("tbody");
  const first = h("th", { scope: "col" });
  const heads = ["Requests", "Errors", "Tokens in", "Tokens out", "Cached", "Cost", "Share"];
  const table = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Usage" },
    h("table", { class: "dense stacks" }, h("thead", {}, h("tr", {}, first, heads.map((text) => h("th", { scope: "col", class: "number" }, text)))), body));
  const none = empty("Nothing was used in this time", "Requests are counted here as soon as they have ended.");
  const note = h("p", { class: "muted", role: "status" }, "Loading …");
  host.append(
    h("div", { class: "bar-line" }, field("Time", range), field("By", by), field("Show", measure), note),
    said.element, tiles, chart.element, h("section", { class: "panel" }, table, none));

  const nameOf = (row) => row[by.value] ?? (by.value === "key" ? "no key" : "nobody");
  let asked = 0;
  let last = null;

  const show = () => {
    const [title, value, write] = MEASURES[measure.value];
    const { data, total, series, every } = last;
    const tile = (label, text, more) => h("div", { class: "tile" }, h("dt", {}, label), h("dd", {}, h("span", { class: "figure" }, text), h("span", { class: "note" }, more)));
    const unpriced = total.unpriced_requests ? `without ${figures.count(total.unpriced_requests)} requests of unknown price` : " ";
    fill(tiles, [
      tile("Cost", figures.usd(total.cost_usd), unpriced),
      tile("Requests", figures.count(total.requests), total.requests ? `${figures.share(total.errors / total.requests)} failed` : " "),
      tile("Tokens in", figures.count(total.tokens_in), total.tokens_in ? `${figures.share(total.tokens_cached / total.tokens_in)} from a provider's cache` : " "),
      tile("Tokens out", figures.count(total.tokens_out), total.tokens_out ? `${figures.share(total.tokens_reasoning / total.tokens_out)} reasoning` : " "),
    ]);
    const ranked = [...data].sort((a, b) => value(b) - value(a));
    const named = ranked.slice(0, ranked.length > HUES.length ? NAMED : HUES.length).map(nameOf);
    const hueOf = (name) => HUES[named.includes(name) ? named.indexOf(name) : HUES.length - 1];
    const starts = steps(series, every);
    const names = ranked.length > named.length ? [...named, REST] : named;
    const columns = names.map((name) => starts.map((start) =>
      series.filter((row) => row.start === start && (name === REST ? !named.includes(nameOf(row)) : nameOf(row) === name)).reduce((sum, row) => sum + value(row), 0)));
    chart.update({
      title: `${title} by ${by.value}, per ${every}`, write, every,
      times: starts.map((start) => new Date(start) / 1000),
      series: names.map((label, place) => ({ label, hue: HUES[place], values: columns[place] })),
    });
    chart.element.hidden = starts.length === 0;
    const whole = data.reduce((sum, row) => sum + value(row), 0);
    say(first, BYS.find(([name]) => name === by.value)[1]);
    fill(body, ranked.map((row) => {
      const part = whole ? value(row) / whole : 0;
      const bar = h("i");
      bar.style.width = `${part * 100}%`;
      const cells = [figures.count(row.requests), figures.count(row.errors), figures.count(row.tokens_in), figures.count(row.tokens_out), figures.count(row.tokens_cached), figures.usd(row.cost_usd)];
      return h("tr", {},
        h("th", { scope: "row", class: "whole" }, h("i", { class: "dot", "data-hue": hueOf(nameOf(row)) }), nameOf(row)),
        cells.map((text, place) => h("td", { class: place === 1 && row.errors ? "number bad-text" : "number", "data-label": heads[place] }, text)),
        h("td", { class: "number share" }, h("span", { class: "meter" }, bar), h("span", {}, figures.share(part))));
    }));
    table.hidden = data.length === 0;
    none.hidden = data.length > 0;
    say(note, by.value === "tag" && data.length ? "A request with several tags counts for each of them." : "");
  };

  const load = async () => {
    const mine = ++asked;
    const [since, , every] = RANGES.find(([value]) => value === range.value);
    said.clear();
    set(host, "aria-busy", "true");
    try {
      const found = await get("admin/usage", { by: by.value, since, every });
      if (mine !== asked) return;
      last = { ...found, every };
      show();
    } catch (error) {
      if (mine !== asked) return;
      say(note, "");
      [tiles, chart.element, table, none].forEach((part) => (part.hidden = true));
      if (error.code === "no_store") said.show("Usage needs a store, and store.url is empty. Name one and restart.", "wary");
      else said.show(error.message);
    } finally {
      if (mine === asked) set(host, "aria-busy", null);
    }
  };
  range.addEventListener("change", load);
  by.addEventListener("change", load);
  measure.addEventListener("change", () => last && show());
  load();
  const timer = setInterval(load, 15_000);
  return () => {
    clearInterval(timer);
    chart.close();
  };
}

/** Every step from the first that has something to the last, those without anything too. */
function steps(series, every) {
  const starts = [...new Set(series.map((row) => row.start))].sort();
  if (starts.length === 0) return [];
  const size = every === "day" ? 86_400_000 : 3_600_000;
  const all = [];
  for (let at = new Date(starts[0]).getTime(); at <= new Date(starts.at(-1)).getTime(); at += size) {
    all.push(starts.find((start) => new Date(start).getTime() === at) ?? new Date(at).toISOString());
  }
  return all;
}
