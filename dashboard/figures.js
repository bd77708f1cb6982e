// How figures are written: the same everywhere, with their units, and a dash for what isn't known.

export const NONE = "–";

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const known = (value) => value !== null && value !== undefined && Number.isFinite(value);

/** 1,234 · 12.3 M */
export function count(value) {
  if (!known(value)) return NONE;
  if (Math.abs(value) >= 1e9) return `${(value / 1e9).toFixed(2)} G`;
  if (Math.abs(value) >= 1e6) return `${(value / 1e6).toFixed(2)} M`;
  return whole.format(value);
}

/** Something a second: 0.4 · 12.3 · 1,234 */
export function rate(value) {
  if (!known(value)) return NONE;
  if (Number.isInteger(value) || value >= 100) return count(value);
  return value.toFixed(value < 10 ? 2 : 1);
}

/** 0.8 ms · 412 ms · 1.24 s · 2 min 5 s */
export function ms(value) {
  if (!known(value)) return NONE;
  if (value === 0) return "0 ms";
  if (value < 10) return `${value.toFixed(1)} ms`;
  if (value < 1000) return `${Math.round(value)} ms`;
  if (value < 60000) return `${(value / 1000).toFixed(2)} s`;
  return span(value / 1000);
}

/** Several times with one unit, where they have one: 199 / 375 / 441 ms */
export function several(values) {
  if (!values.every(known)) return NONE;
  const short = values.every((value) => value >= 10 && value < 1000);
  return short ? `${values.map(Math.round).join(" / ")} ms` : values.map(ms).join(" / ");
}

/** Seconds, in the two largest units: 45 s · 3 min 20 s · 2 d 4 h */
export function span(seconds) {
  if (!known(seconds)) return NONE;
  const left = Math.max(0, Math.round(seconds));
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = units.findIndex(([, size]) => left >= size);
  if (first < 0) return "0 s";
  const parts = [];
  let rest = left;
  for (const [name, size] of units.slice(first, first + 2)) {
    const many = Math.floor(rest / size);
    rest -= many * size;
    if (many > 0) parts.push(`${many} ${name}`);
  }
  return parts.join(" ");
}

/** A share, 0 to 1: 0 % · 0.42 % · 12 % */
export function share(value) {
  if (!known(value)) return NONE;
  const percent = value * 100;
  if (percent === 0) return "0\u00a0%";
  if (percent < 0.01) return "<\u00a00.01\u00a0%";
  return `${percent < 10 ? percent.toFixed(percent < 1 ? 2 : 1) : Math.round(percent)}\u00a0%`;
}

/** $1,234.50 · $0.0123 · $0.000004 */
export function usd(value) {
  if (!known(value)) return NONE;
  if (value === 0) return "$0";
  const size = Math.abs(value);
  if (size >= 1) return `$${value.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 })}`;
  if (size >= 0.01) return `$${value.toFixed(4).replace(/0{1,2}$/, "")}`;
  return `$${Number(value.toPrecision(2)).toFixed(Math.min(9, 1 - Math.floor(Math.log10(size))))}`;
}

/** 14:03:22 in the reader's own time. */
export function clock(when) {
  const date = new Date(when);
  return Number.isNaN(date.getTime()) ? NONE : date.toLocaleTimeString("en-GB");
}

/** 26 Nov 14:03:22 */
export function moment(when) {
  const date = new Date(when);
  if (Number.isNaN(date.getTime())) return NONE;
  return `${date.toLocaleDateString("en-GB", { day: "numeric", month: "short" })} ${date.toLocaleTimeString("en-GB")}`;
}

/** 26 Nov 2026 */
export function day(when) {
  const date = new Date(when);
  return Number.isNaN(date.getTime()) ? NONE : date.toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" });
}

/** Why a breaker moved, or a provider isn't healthy, in words. */
const REASONS = {
  consecutive_failures: "failures in a row",
  failure_ratio: "too many of the window's calls failed",
  hard_failure: "a failure that won't mend by itself",
  several_models: "several of its models failed",
  period_over: "its rest is over, calls may probe",
  least_bad_succeeded: "tried as the least bad, and it answered",
  probe_failed: "a probe failed",
  probes_succeeded: "probes succeeded",
  active_probe: "an active probe was answered",
  operator_open: "opened by an operator",
  operator_close: "closed by an operator",
  operator_reset: "reset by an operator",
  slow_ratio: "slow: others are preferred",
  model_missing: "it has no such model",
  key_fault: "its keys were refused",
  rate_limited: "its keys are rate-limited",
  failing_elsewhere: "failing at another gateway",
};

export const reason = (name) => (name ? (REASONS[name] ?? name.replaceAll("_", " ")) : "");

/** States by their names in the API. */
export const STATES = { closed: "closed", open: "open", half_open: "half-open" };
