// Each provider as a card: how it is and why, its figures, its keys, the breaker of each of its models with the last half
// hour in a strip, and the orders that an operator may give.

import { ask, badge, empty, fill, h, keyed, notice, say, set, TONES } from "./elements.js";
import * as figures from "./figures.js";
import { call, live } from "./gateway.js";
import { moveLine } from "./moves.js";
import { bounds, combined, history, strip } from "./strip.js";

/** Moves that a card shows until more are asked for. */
const FEW = 6;
const MANY = 60;

const ORDERS = [
  { action: "open", word: "Force open", what: "gets no calls until it is closed or reset by hand" },
  { action: "close", word: "Close", what: "gets calls again at once" },
  { action: "reset", word: "Reset", what: "is closed, its counts are forgotten and its keys rest no more" },
];

function orders(provider, model, said, small) {
  return ORDERS.map((order) => {
    const name = model ? `${provider} / ${model}` : provider;
    const give = async () => {
      const sure = order.action !== "open" || (await ask(`Force ${name} open?`, `Until it is closed or reset by hand, ${name} gets no calls. Requests go to the other targets of their chains, or fail where there are none.`, "Force open"));
      if (!sure) return;
      button.disabled = true;
      said.clear();
      try {
        await call("POST", `admin/breakers/${encodeURIComponent(provider)}`, { action: order.action, model });
        said.show(`${name} ${order.what}.`, "good");
      } catch (error) {
        said.show(error.message);
      } finally {
        button.disabled = false;
      }
    };
    const button = h("button", { class: small ? "small quiet" : "small", "aria-label": `${order.word}: ${name}`, title: `${name} ${order.what}`, onclick: give }, order.word);
    return button;
  });
}

function figure(label) {
  const value = h("dd", {}, figures.NONE);
  return { element: h("div", {}, h("dt", {}, label), value), update: (text, bad) => { say(value, text); set(value, "class", bad ? "bad-text" : null); } };
}

function keyLine(key) {
  const state = badge();
  const until = h("span", { class: "muted" });
  return {
    element: h("li", {}, h("span", { class: "mono" }, key.name), state.element, until),
    update(key) {
      state.update(TONES[key.status], key.status);
      say(until, key.until ? `until ${figures.clock(key.until)}` : "");
    },
  };
}

function modelRow(provider, said) {
  return (model) => {
    const state = badge();
    const [calls, failures] = [h("td", { class: "number", "data-label": "Calls" }), h("td", { class: "number", "data-label": "Failed" })];
    const bar = strip(`${provider} / ${model.name}`);
    const note = h("span", { class: "bad-text" });
    const element = h("tr", {},
      h("th", { scope: "row" }, model.name, " ", note),
      h("td", {}, state.element), h("td", { class: "bar whole" }, bar.element), calls, failures,
      h("td", { class: "orders" }, orders(provider, model.name, said, true)));
    return {
      element,
      update(model) {
        state.update(TONES[model.breaker], figures.STATES[model.breaker]);
        say(calls, figures.count(model.calls));
        say(failures, figures.count(model.failures));
        set(failures, "class", model.failures ? "number bad-text" : "number");
        say(note, model.note ?? "");
        bar.update(history(provider, model.name, model.breaker));
      },
    };
  };
}

function card({ name }) {
  const said = notice();
  const [status, breaker] = [badge(), badge()];
  const why = h("p", { class: "why" });
  const figuresOf = {
    flight: figure("In flight"), calls: figure("Calls"), failed: figure("Failed"), slow: figure("Slow"),
    row: figure("Failures in a row"), latency: figure("Latency p50 / p95 / p99"), first: figure("First token p50 / p95 / p99"),
  };
  const windowName = figuresOf.calls.element.querySelector("dt");
  const bar = strip(name);
  const ago = h("span", {});
  const error = h("p", { class: "last-error" });
  const keys = h("ul", { class: "keys" });
  const keyLines = keyed(keys, keyLine);
  const keyPart = h("section", {}, h("h3", {}, "Keys"), keys);
  const rows = h("tbody");
  const models = keyed(rows, modelRow(name, said));
  const moves = h("ol", { class: "moves" });
  const none = h("p", { class: "muted" }, "No breaker of this provider has moved lately.");
  let all = false;
  const more = h("button", { class: "small quiet", "aria-expanded": "false", onclick: () => { all = !all; set(more, "aria-expanded", String(all)); moved(); } }, "Show more");
  const moved = () => {
    const own = live.transitions.filter((moved) => moved.provider === name);
    fill(moves, own.slice(0, all ? MANY : FEW).map((moved) => moveLine(moved, false)));
    none.hidden = own.length > 0;
    more.hidden = own.length <= FEW;
    say(more, all ? "Show fewer" : "Show more");
  };
  const heads = ["Model", "Breaker", "Lately", "Calls", "Failed", "Orders"];
  const element = h("article", { class: "card provider", id: `provider-${name}`, "aria-label": name },
    h("header", {}, h("h2", {}, name), status.element, h("span", { class: "pair" }, h("span", { class: "muted" }, "breaker"), breaker.element), h("div", { class: "orders" }, orders(name, null, said, false))),
    said.element,
    why,
    h("div", { class: "timeline" }, bar.element, ago, h("span", {}, "now")),
    h("dl", { class: "facts" }, Object.values(figuresOf).map((one) => one.element)),
    error,
    keyPart,
    h("section", {}, h("h3", {}, "Models"),
      h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Models of ${name}` },
        h("table", { class: "dense stacks" }, h("thead", {}, h("tr", {}, heads.map((text, place) => h("th", { scope: "col", class: place > 2 ? "number" : null }, text)))), rows))),
    h("section", {}, h("h3", {}, "Timeline"), moves, none, more));
  moved();
  return {
    element,
    moved,
    update(provider) {
      status.update(TONES[provider.status], provider.status);
      breaker.update(TONES[provider.breaker], figures.STATES[provider.breaker]);
      set(element, "data-status", provider.status);
      const retry = provider.retry_at ? Math.max(0, (new Date(provider.retry_at) - live.snapshot.at_ms) / 1000) : null;
      const since = `since ${figures.clock(provider.since)}`;
      if (provider.breaker === "closed") say(why, provider.reason ? figures.reason(provider.reason) : `Closed ${since}.`);
      else {
        const then = retry !== null ? ` Calls may probe it ${retry > 0 ? `in ${figures.span(Math.ceil(retry))}` : "now"}.` : provider.breaker === "open" ? " It stays open until an operator closes or resets it." : "";
        say(why, `${provider.breaker === "open" ? "Open" : "Half-open"} ${since}: ${figures.reason(provider.reason) || "no reason known"}.${then}`);
      }
      const { window, latency_ms: latency, ttft_ms: first } = provider;
      say(windowName, `Calls in ${window.seconds} s`);
      const three = (of) => figures.several([of.p50, of.p95, of.p99]);
      figuresOf.flight.update(figures.count(provider.in_flight));
      figuresOf.calls.update(figures.count(window.calls));
      figuresOf.failed.update(window.calls ? `${figures.count(window.failures)} (${figures.share(window.failure_ratio)})` : figures.NONE, window.failures > 0);
      figuresOf.slow.update(figures.count(window.slow));
      figuresOf.row.update(figures.count(provider.consecutive_failures), provider.consecutive_failures > 0);
      figuresOf.latency.update(three(latency));
      figuresOf.first.update(three(first));
      const last = provider.last_error;
      say(error, last ? `Last failure ${figures.moment(last.at)}: ${last.kind}${last.message ? `, ${last.message}` : ""}` : "");
      error.hidden = !last;
      keyLines(provider.keys, (key) => key.name);
      keyPart.hidden = provider.keys.length === 0;
      models(Object.entries(provider.models).map(([name, model]) => ({ name, ...model })), (model) => model.name);
      say(ago, `${figures.span(bounds().length)} ago`);
      bar.update(combined(name, Object.entries(provider.models)));
    },
  };
}

export function mount(host, [wanted]) {
  const cards = h("div", { class: "cards" });
  const made = new Map();
  const none = empty("No providers yet", "Waiting for the gateway's first word.");
  host.append(cards, none);
  const show = keyed(cards, (provider) => {
    const one = card(provider);
    made.set(provider.name, one);
    return one;
  });
  let sought = wanted;
  const change = () => {
    if (!live.snapshot) return;
    const all = Object.entries(live.snapshot.health.providers).map(([name, provider]) => ({ name, ...provider }));
    show(all, (provider) => provider.name);
    none.hidden = all.length > 0;
    if (sought && made.has(sought)) {
      made.get(sought).element.scrollIntoView();
      sought = null;
    }
  };
  const moved = () => made.forEach((one) => one.moved());
  live.addEventListener("change", change);
  live.addEventListener("transitions", moved);
  change();
  return () => {
    live.removeEventListener("change", change);
    live.removeEventListener("transitions", moved);
  };
}
