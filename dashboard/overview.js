// How it goes now: the figures, their last minutes, each provider in a line, and how breakers moved.

import { lines } from "./charts.js";
import { badge, empty, fill, h, keyed, say, set, TONES } from "./elements.js";
import * as figures from "./figures.js";
import { get, live } from "./gateway.js";
import { moveLine } from "./moves.js";

/** Shares and sums look back so many seconds. */
const MINUTE = 60;
/** Rates are of so many. */
const SHORT = 10;
/** Seconds further apart than this, in milliseconds, are no neighbours. */
const GAP = 5_000;

/** What a provider's line counts. */
const NUMBERS = ["In flight", "Calls", "Failed", "p95", "First p95"];

const sum = (seconds, pick) => seconds.reduce((total, second) => total + pick(second), 0);
const within = (back) => {
  const from = (live.seconds.at(-1)?.at_ms ?? 0) - back * 1000;
  return live.seconds.filter((second) => second.at_ms > from);
};

/** The seconds, with an empty one where nobody watched for a while: a line over it would be made up. */
const withGaps = (seconds) => seconds.flatMap((second, place) => {
  const before = seconds[place - 1];
  return before && second.at_ms - before.at_ms > GAP ? [{ at_ms: before.at_ms + 1 }, second] : [second];
});

function tile(label) {
  const [value, note] = [h("span", { class: "figure" }, figures.NONE), h("span", { class: "note" }, " ")];
  const element = h("div", { class: "tile" }, h("dt", {}, label), h("dd", {}, value, note));
  return {
    element,
    update(text, more, tone = "") {
      say(value, text);
      say(note, more);
      set(element, "class", `tile ${tone}`);
    },
  };
}

function providerRow(provider) {
  const [state, status] = [badge(), badge()];
  const cells = Array.from({ length: 5 }, (_, place) => h("td", { class: place > 0 && place < 3 ? "number" : "number opt", "data-label": NUMBERS[place] }));
  const why = h("td", { class: "wide whole" });
  const name = h("a", { href: `#/providers/${encodeURIComponent(provider.name)}` }, provider.name);
  return {
    element: h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, status.element), h("td", {}, state.element), cells, why),
    update(provider) {
      status.update(TONES[provider.status], provider.status);
      state.update(TONES[provider.breaker], figures.STATES[provider.breaker]);
      const window = provider.window;
      const values = [
        figures.count(provider.in_flight),
        figures.count(window.calls),
        window.calls ? figures.share(window.failure_ratio) : figures.NONE,
        figures.ms(provider.latency_ms.p95),
        figures.ms(provider.ttft_ms.p95),
      ];
      cells.forEach((cell, place) => say(cell, values[place]));
      set(cells[2], "class", `number ${window.failures > 0 ? "bad-text" : ""}`);
      const resting = provider.keys.filter((key) => key.status !== "active").length;
      const rest = resting ? `${resting} of ${provider.keys.length} keys resting` : "";
      const again = provider.retry_at ? `tries again at ${figures.clock(provider.retry_at)}` : "";
      say(why, [figures.reason(provider.reason), again, rest].filter(Boolean).join(" · ") || " ");
    },
  };
}

export function mount(host) {
  const tiles = {
    requests: tile("Requests"),
    errors: tile("Failed in a minute"),
    latency: tile("Latency"),
    first: tile("First token"),
    tokens: tile("Tokens"),
    cost: tile("Cost a minute"),
  };
  const charts = {
    requests: lines({
      title: "Requests per second",
      write: figures.rate,
      series: [{ label: "answered", hue: "--chart-1", fill: true }, { label: "failed", hue: "--bad" }, { label: "refused", hue: "--wary" }],
    }),
    latency: lines({
      title: "Latency",
      write: figures.ms,
      series: [{ label: "p50", hue: "--chart-1" }, { label: "p95", hue: "--chart-2" }, { label: "first token p95", hue: "--chart-3" }],
    }),
    tokens: lines({
      title: "Tokens per second",
      write: figures.rate,
      series: [{ label: "in", hue: "--chart-1" }, { label: "out", hue: "--chart-2" }],
    }),
    flight: lines({ title: "In flight", write: figures.count, series: [{ label: "requests and streams", hue: "--chart-1", fill: true }] }),
  };
  const rows = h("tbody");
  const providers = keyed(rows, providerRow);
  const head = ["Provider", "Status", "Breaker", ...NUMBERS, "Why"];
  const table = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Providers" },
    h("table", { class: "dense stacks" }, h("thead", {}, h("tr", {}, head.map((text, place) => h("th", { scope: "col", class: place < 3 || place > 7 ? null : place > 3 && place < 6 ? "number" : "number opt" }, text)))), rows));
  const moves = h("ol", { class: "moves" });
  const none = empty("No breaker has moved", "Each move of a breaker is listed here, with its reason.");
  const today = h("p", { class: "today" }, " ");
  host.append(
    h("dl", { class: "tiles" }, Object.values(tiles).map((tile) => tile.element)),
    today,
    h("div", { class: "charts" }, Object.values(charts).map((chart) => chart.element)),
    h("section", { class: "panel" }, h("h2", {}, "Providers"), table),
    h("section", { class: "panel" }, h("h2", {}, "Latest moves"), moves, none),
  );

  const moved = () => {
    fill(moves, live.transitions.slice(0, 12).map(moveLine));
    none.hidden = live.transitions.length > 0;
  };

  let counted = false;
  const change = () => {
    const snapshot = live.snapshot;
    if (!snapshot) return;
    if (!counted) {
      counted = true;
      count();
    }
    const [short, minute] = [within(SHORT), within(MINUTE)];
    const last = live.seconds.at(-1);
    const all = (second) => second.answered + second.failed + second.refused + second.left;
    const time = (seconds) => sum(seconds, (second) => second.seconds) || 1;
    const [ended, failed] = [sum(minute, all), sum(minute, (second) => second.failed)];
    const refused = sum(minute, (second) => second.refused);
    const left = sum(minute, (second) => second.left);
    tiles.requests.update(`${figures.rate(sum(short, all) / time(short))} /s`, `${figures.count(snapshot.requests)} in flight, ${figures.count(snapshot.streams)} ${snapshot.streams === 1 ? "stream" : "streams"}`);
    const failing = ended ? failed / ended : 0;
    tiles.errors.update(
      figures.share(failing),
      [`${figures.count(failed)} of ${figures.count(ended)}`, refused && `${figures.count(refused)} refused`, left ? `${figures.count(left)} left` : ""].filter(Boolean).join(", "),
      failing > 0.05 ? "bad" : failing > 0 ? "wary" : "",
    );
    tiles.latency.update(figures.ms(last?.latency_p50_ms), `p95 ${figures.ms(last?.latency_p95_ms)}`);
    tiles.first.update(figures.ms(last?.first_token_p50_ms), `p95 ${figures.ms(last?.first_token_p95_ms)}`);
    const [tokensIn, tokensOut] = [sum(short, (second) => second.tokens_in), sum(short, (second) => second.tokens_out)];
    tiles.tokens.update(`${figures.rate((tokensIn + tokensOut) / time(short))} /s`, `${figures.rate(tokensIn / time(short))} in, ${figures.rate(tokensOut / time(short))} out`);
    const cost = sum(minute, (second) => second.cost_usd);
    tiles.cost.update(figures.usd((cost / time(minute)) * 60), `${figures.usd((cost / time(minute)) * 3600)} an hour`);

    const points = withGaps(live.seconds);
    const per = (pick) => points.map((second) => (second.seconds ? pick(second) / second.seconds : null));
    const of = (name) => points.map((second) => second[name] ?? null);
    const times = points.map((second) => second.at_ms / 1000);
    charts.requests.update(times, [per((second) => second.answered), per((second) => second.failed), per((second) => second.refused)]);
    charts.latency.update(times, [of("latency_p50_ms"), of("latency_p95_ms"), of("first_token_p95_ms")]);
    charts.tokens.update(times, [per((second) => second.tokens_in), per((second) => second.tokens_out)]);
    charts.flight.update(times, [of("in_flight")]);
    providers(Object.entries(snapshot.health.providers).map(([name, provider]) => ({ name, ...provider })), (provider) => provider.name);
  };

  /** What charts of five minutes don't tell; without a store, nobody knows. */
  const count = async () => {
    today.hidden = !live.hello?.store;
    if (today.hidden) return;
    try {
      const { total } = await get("admin/usage", { by: "model", since: "1d" });
      const unpriced = total.unpriced_requests ? `, and ${figures.count(total.unpriced_requests)} requests of unknown price` : "";
      const failed = total.requests ? `, ${figures.share(total.errors / total.requests)} of them failed` : "";
      say(today, `In 24 hours: ${figures.count(total.requests)} requests${failed}; ${figures.count(total.tokens_in + total.tokens_out)} tokens; ${figures.usd(total.cost_usd)}${unpriced}.`);
    } catch {
      today.hidden = true;
    }
  };

  live.addEventListener("change", change);
  live.addEventListener("transitions", moved);
  change();
  moved();
  const timer = setInterval(() => document.hidden || count(), 60_000);
  return () => {
    clearInterval(timer);
    live.removeEventListener("change", change);
    live.removeEventListener("transitions", moved);
    Object.values(charts).forEach((chart) => chart.close());
  };
}
