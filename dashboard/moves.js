// How a breaker's move reads, in a line.

import { badge, h, TONES } from "./elements.js";
import { moment, reason, span, STATES } from "./figures.js";

/** A move as a list's item. `named`: with its provider's name. */
export function moveLine(moved, named = true) {
  const state = (name) => badge(TONES[name], STATES[name] ?? name).element;
  const rests = moved.period_ms ? `, rests ${span(moved.period_ms / 1000)}` : "";
  const whose = named === false ? (moved.model ?? "the provider") : moved.model ? `${moved.provider} / ${moved.model}` : moved.provider;
  return h("li", {},
    h("time", { datetime: moved.time }, moment(moved.time)),
    h("span", { class: "whose" }, whose),
    h("span", { class: "step" }, state(moved.from), h("span", { class: "arrow", "aria-label": "to" }, "→"), state(moved.to)),
    h("span", { class: "why" }, `${reason(moved.reason)}${rests}`));
}
