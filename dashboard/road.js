// The road that a request took: in short for a table's cell, and each attempt on a line of time.

import { badge, h } from "./elements.js";
import * as figures from "./figures.js";

const OUTCOMES = {
  ok: "answered",
  transient: "failed",
  rate_limited: "rate-limited",
  key_fault: "key refused",
  too_long: "too long for it",
  caller_fault: "refused the request",
  model_missing: "has no such model",
  abandoned: "abandoned",
};
const TONE = { ok: "good", abandoned: "none", caller_fault: "wary", too_long: "wary" };

const KINDS = {
  connect: "no connection", dns: "name not found", tls: "TLS", connect_timeout: "connecting took too long", reset: "connection reset",
  head_timeout: "no answer in time", first_token_timeout: "no first token in time", idle_timeout: "fell silent", total_timeout: "no whole answer in time",
  truncated: "cut off", malformed: "unreadable", error_body: "an error in its body",
};

const kind = (name) => (name ? (KINDS[name] ?? name.replace(/^status_/, "status ").replaceAll("_", " ")) : "");

/** A status with its shape. */
export function statusBadge(request) {
  const { status } = request;
  const tone = status === 499 ? "none" : status >= 500 || (status < 400 && request.error) ? "bad" : status >= 400 ? "wary" : "good";
  return badge(tone, status === 499 ? "499 left" : String(status)).element;
}

/** Each attempt's provider, the failed ones struck through. */
export function road(request) {
  if (request.attempts.length === 0) return request.cache ? "from the cache" : "no attempt";
  return request.attempts.flatMap((attempt, place) => {
    const failed = attempt.outcome !== "ok";
    const why = failed ? kind(attempt.kind) || OUTCOMES[attempt.outcome] || attempt.outcome : "";
    return [
      place > 0 && h("span", { class: "arrow", "aria-label": "then" }, " → "),
      h("span", { class: failed ? "hop failed" : "hop", title: why ? `${attempt.provider}: ${why}` : null }, attempt.provider, failed && h("small", {}, ` ${why}`)),
    ];
  });
}

/** The attempts on a line of time. */
export function waterfall(request) {
  const began = new Date(request.time).getTime();
  const attempts = request.attempts.map((attempt) => ({ ...attempt, after: Math.max(0, new Date(attempt.start) - began) }));
  const whole = Math.max(request.latency_ms, ...attempts.map((attempt) => attempt.after + attempt.total_ms), 1);
  const line = (attempt, place) => {
    const good = attempt.outcome === "ok";
    const bar = h("span", { class: `bar ${good ? "good" : (TONE[attempt.outcome] ?? "bad")}` });
    bar.style.left = `${(attempt.after / whole) * 100}%`;
    bar.style.width = `${Math.max((attempt.total_ms / whole) * 100, 0.6)}%`;
    if (attempt.ttft_ms !== null && attempt.total_ms > 0) {
      const first = h("span", { class: "first", title: `first token after ${figures.ms(attempt.ttft_ms)}` });
      first.style.left = `${Math.min((attempt.ttft_ms / attempt.total_ms) * 100, 100)}%`;
      bar.append(first);
    }
    const said = [good ? "" : kind(attempt.kind), attempt.status && !String(attempt.kind).startsWith("status_") && !good ? `status ${attempt.status}` : "", attempt.hedge ? "hedge" : "", attempt.breaker !== "normal" ? attempt.breaker.replaceAll("_", " ") : ""];
    const seam = request.recovered && !good && attempt.ttft_ms !== null && place < attempts.length - 1;
    return [
      h("li", {},
        h("span", { class: "order" }, String(attempt.order)),
        h("span", { class: "target" }, h("strong", {}, attempt.provider), " ", h("span", { class: "muted" }, [attempt.model, attempt.key].filter(Boolean).join(", "))),
        h("span", { class: "track" }, bar),
        h("span", { class: "took" }, `${figures.ms(attempt.total_ms)}`),
        h("span", { class: "how" }, badge(good ? "good" : (TONE[attempt.outcome] ?? "bad"), OUTCOMES[attempt.outcome] ?? attempt.outcome).element, " ", h("span", { class: "muted" }, said.filter(Boolean).join(", ")))),
      seam && h("li", { class: "seam" }, "The stream broke here after its first words; the next target went on from them, and the caller got one answer."),
    ];
  };
  if (attempts.length === 0) return h("p", { class: "muted" }, request.cache ? "The answer came from the cache: no provider was called." : "No provider was called.");
  return h("ol", { class: "waterfall", "aria-label": "Attempts" }, attempts.map(line));
}
