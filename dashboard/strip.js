// A breaker's last half hour as a strip: when it was closed, half-open and open. It begins with the gateway's start at the
// earliest: what was before, a breaker doesn't remember. A young gateway's strip is of its life.

import { set } from "./elements.js";
import { span, STATES } from "./figures.js";
import { live } from "./gateway.js";

/** Seconds that a strip shows at most, and at least. */
const MOST = 30 * 60;
const LEAST = 2 * 60;
const SVG = "http://www.w3.org/2000/svg";

/** Seconds since the Unix epoch: now, where what is known begins, and how long the strips are. */
export function bounds() {
  const now = live.snapshot.at_ms / 1000;
  const life = live.snapshot.health.uptime_s;
  return { now, from: now - Math.min(life, MOST), length: Math.max(LEAST, Math.min(life, MOST)) };
}

/** The states that a breaker had, oldest first, each with its begin; `model` null: the provider's own. */
export function history(provider, model, state) {
  const { from } = bounds();
  const own = live.transitions
    .filter((moved) => moved.provider === provider && moved.model === model)
    .map((moved) => ({ at: new Date(moved.time) / 1000, from: moved.from, to: moved.to }))
    .filter((moved) => moved.at >= from)
    .reverse();
  const first = own[0]?.from ?? state ?? "closed";
  return [{ at: from, state: first }, ...own.map((moved) => ({ at: moved.at, state: moved.to }))];
}

/** The same of a provider as a whole: its own breaker's, or where all of its models are shut, the best of theirs. */
export function combined(provider, models) {
  const own = history(provider, null, "closed");
  const parts = models.map(([name, model]) => history(provider, name, model.breaker));
  const times = [...new Set([own, ...parts].flat().map((part) => part.at))].sort((a, b) => a - b);
  const at = (parts, time) => parts.findLast((part) => part.at <= time)?.state ?? "closed";
  return times.map((time) => {
    const state = at(own, time);
    const theirs = parts.map((part) => at(part, time));
    if (state !== "closed" || theirs.length === 0 || theirs.includes("closed")) return { at: time, state };
    return { at: time, state: theirs.includes("half_open") ? "half_open" : "open" };
  });
}

/** An element that shows such a history. */
export function strip(name) {
  const element = document.createElementNS(SVG, "svg");
  set(element, "preserveAspectRatio", "none");
  set(element, "class", "strip");
  set(element, "role", "img");
  let drawn = "";
  return {
    element,
    update(parts) {
      const { now, length } = bounds();
      const start = now - length;
      set(element, "viewBox", `0 0 ${length} 10`);
      const total = { closed: 0, half_open: 0, open: 0 };
      const rects = parts.map((part, place) => {
        const end = parts[place + 1]?.at ?? now;
        total[part.state] = (total[part.state] ?? 0) + end - part.at;
        // So that what was short is seen, too.
        const least = part.state === "closed" ? 0 : length / 300;
        return { state: part.state, x: part.at - start, width: Math.max(end - part.at, least) };
      });
      const words = Object.entries(total).filter(([, seconds]) => seconds >= 0.5).map(([state, seconds]) => `${STATES[state]} ${span(seconds)}`);
      set(element, "aria-label", `${name}, last ${span(length)}: ${words.join(", ") || "nothing yet"}`);
      const key = length + rects.map((rect) => `${rect.state} ${Math.round(rect.x)} ${Math.round(rect.width)}`).join();
      if (key === drawn) return;
      drawn = key;
      const order = { closed: 0, half_open: 1, open: 2 };
      const shapes = rects.sort((a, b) => order[a.state] - order[b.state]).map(({ state, x, width }) => {
        const rect = document.createElementNS(SVG, "rect");
        for (const [key, value] of Object.entries({ x, width, y: state === "closed" ? 3 : state === "half_open" ? 1.5 : 0, height: state === "closed" ? 4 : state === "half_open" ? 7 : 10, class: state })) set(rect, key, value);
        return rect;
      });
      element.replaceChildren(...shapes);
    },
  };
}

