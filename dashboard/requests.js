// Requests: the live tail, and the search through the ledger. Each row opens to the road that it took.

import { empty, field, fill, h, notice, say, set } from "./elements.js";
import * as figures from "./figures.js";
import { get, live, Refused } from "./gateway.js";
import { statusBadge, road, waterfall } from "./road.js";

/** Rows that the tail shows, and a page of the search has. */
const TAIL = 100;
const PAGE = 50;

const COLUMNS = [
  ["Time"], ["Status"], ["Model"], ["Key", "opt"], ["Route"], ["Tokens in / out", "number opt"], ["Cost", "number"], ["First token", "number opt"], ["Latency", "number"],
];

function rowOf(request, open) {
  const details = h("tr", { class: "details", hidden: true });
  const id = `r-${request.id}`;
  details.id = id;
  const toggle = h("button", { class: "expand", "aria-expanded": "false", "aria-controls": id, "aria-label": `The road of the request of ${figures.clock(request.time)}`, onclick: () => turn() }, figures.clock(request.time));
  const turn = () => {
    const show = details.hidden;
    if (show && !details.firstChild) details.append(h("td", { colspan: COLUMNS.length }, detail(request)));
    details.hidden = !show;
    set(toggle, "aria-expanded", String(show));
    open(request.id, show);
  };
  const marks = [
    request.stream && h("span", { class: "chip", title: "streamed" }, "stream"),
    request.recovered && h("span", { class: "chip wary", title: "the stream broke and another target went on" }, "recovered"),
    request.cache && h("span", { class: "chip" }, `cache ${request.cache}`),
  ];
  const cells = [
    h("td", { class: "time" }, toggle),
    h("td", {}, statusBadge(request)),
    h("td", {}, h("span", { class: "model" }, request.model), " ", marks),
    h("td", { class: "opt" }, request.key ?? figures.NONE),
    h("td", { class: "route" }, road(request)),
    h("td", { class: "number opt" }, `${figures.count(request.tokens_in)} / ${figures.count(request.tokens_out)}`),
    h("td", { class: "number", title: request.cost_usd === null ? "the price isn't known" : null }, figures.usd(request.cost_usd)),
    h("td", { class: "number opt" }, figures.ms(request.ttft_ms)),
    h("td", { class: "number" }, figures.ms(request.latency_ms)),
  ];
  return { rows: [h("tr", { "data-request": request.request_id }, cells), details], isOpen: () => !details.hidden };
}

function detail(request) {
  const pairs = [
    ["Request", request.request_id],
    ["Time", figures.moment(request.time)],
    ["Key", request.key ?? "none (open mode)"],
    ["Served by", request.provider ? `${request.provider} / ${request.provider_model ?? "?"}` : request.cache ? "the cache" : "nobody"],
    ["Provider's key", request.provider_key],
    ["Tokens", `${figures.count(request.tokens_in)} in (${figures.count(request.tokens_cached)} cached), ${figures.count(request.tokens_out)} out (${figures.count(request.tokens_reasoning)} reasoning)`],
    ["Counted", request.state ? `${request.state}, by ${request.source ?? "?"}` : null],
    ["Cost", request.cost_usd === null ? "the price isn't known" : figures.usd(request.cost_usd)],
    ["First token", request.ttft_ms === null ? null : figures.ms(request.ttft_ms)],
    ["Latency", figures.ms(request.latency_ms)],
    ["Tags", request.tags.join(", ")],
    ["Error", request.error],
  ];
  return h("div", { class: "detail" },
    waterfall(request),
    h("dl", { class: "facts" }, pairs.filter(([, text]) => text).map(([label, text]) => h("div", {}, h("dt", {}, label), h("dd", { class: label === "Error" ? "bad-text" : label === "Request" ? "mono" : null }, text)))));
}

export function mount(host) {
  let following = true;
  let next = null;
  let asked = 0;
  const open = new Set();
  const shown = new Map();
  const said = notice();

  const models = h("datalist", { id: "models" });
  const model = h("input", { list: "models", placeholder: "any", spellcheck: "false" });
  const key = h("input", { placeholder: "any", spellcheck: "false" });
  const provider = h("select", {}, h("option", { value: "" }, "any"));
  const status = h("input", { placeholder: "any", inputmode: "numeric", pattern: "[1-5][0-9]{2}", maxlength: 3 });
  const since = h("select", {}, [["", "any time"], ["15m", "15 minutes"], ["1h", "hour"], ["1d", "day"], ["7d", "7 days"]].map(([value, text]) => h("option", { value }, text)));
  const tail = h("button", { type: "button", class: "toggle", "aria-pressed": "true", onclick: () => (following ? hold() : follow()) }, "Live tail");
  const find = h("button", { class: "primary" }, "Search");
  const form = h("form", { class: "filters", onsubmit: (event) => { event.preventDefault(); search(); } },
    models,
    field("Model", model), field("Key", key), field("Provider", provider), field("Status", status), field("Within", since),
    h("div", { class: "buttons" }, find, tail));
  const body = h("tbody");
  const table = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Requests" },
    h("table", { class: "dense requests" }, h("thead", {}, h("tr", {}, COLUMNS.map(([text, style]) => h("th", { scope: "col", class: style }, text)))), body));
  const none = empty("No requests", "As soon as one ends, it is shown here.");
  const note = h("p", { class: "muted", role: "status" });
  const older = h("button", { onclick: () => page(), hidden: true }, "Older");
  host.append(h("section", { class: "panel" }, form), said.element, h("section", { class: "panel" }, note, table, none, older));

  const filters = () => ({ model: model.value.trim(), key: key.value.trim(), provider: provider.value, status: status.value.trim() });
  const fits = (row) => {
    const wanted = filters();
    return (!wanted.model || row.model === wanted.model) && (!wanted.provider || row.provider === wanted.provider)
      && (!wanted.key || row.key === wanted.key || row.key_id === wanted.key) && (!wanted.status || String(row.status) === wanted.status);
  };
  const put = (rows) => {
    const parts = rows.map((row) => {
      if (!shown.has(row.id)) shown.set(row.id, rowOf(row, (id, is) => (is ? open.add(id) : open.delete(id))));
      return shown.get(row.id).rows;
    });
    fill(body, parts);
    const ids = new Set(rows.map((row) => row.id));
    for (const id of shown.keys()) if (!ids.has(id)) shown.delete(id);
    table.hidden = rows.length === 0;
    none.hidden = rows.length > 0;
  };

  let rows = [];
  let waiting = false;
  const arrived = () => {
    if (!following || waiting) return;
    // Many may come at once: one drawing for all of them. A row that is being read holds its place.
    waiting = true;
    setTimeout(() => {
      waiting = false;
      if (!following) return;
      const fresh = live.requests.filter(fits);
      const newer = fresh.filter((row) => row.id > (rows[0]?.id ?? "")).length;
      merge(fresh);
      const over = live.passedOver ? ` ${figures.count(live.passedOver)} more ended in the last second.` : "";
      say(note, open.size ? `Held while a row is open: ${figures.count(newer)} newer.` : `Live.${over}`);
    }, 100);
  };
  const merge = (more) => {
    if (open.size) return;
    const known = new Map([...more, ...rows].map((row) => [row.id, row]));
    rows = [...known.values()].sort((a, b) => (a.id < b.id ? 1 : -1)).slice(0, TAIL);
    put(rows);
  };
  const hold = () => {
    following = false;
    set(tail, "aria-pressed", "false");
    say(note, "The tail is held.");
  };
  const follow = () => {
    following = true;
    set(tail, "aria-pressed", "true");
    older.hidden = true;
    open.clear();
    shown.clear();
    rows = [];
    since.value = "";
    load(true);
  };
  const search = () => {
    hold();
    rows = [];
    next = null;
    shown.clear();
    open.clear();
    page();
  };
  const page = async () => {
    const mine = ++asked;
    said.clear();
    say(note, "Searching …");
    set(table, "aria-busy", "true");
    try {
      const found = await get("admin/requests", { ...filters(), since: since.value, limit: PAGE, before: next });
      if (mine !== asked) return;
      rows = [...rows, ...found.data];
      next = found.next;
      put(rows);
      older.hidden = !next;
      say(note, `${figures.count(rows.length)} found${next ? " so far" : ""}.`);
    } catch (error) {
      if (mine !== asked) return;
      say(note, "");
      said.show(error.message);
    } finally {
      set(table, "aria-busy", null);
    }
  };
  const load = async () => {
    const mine = ++asked;
    say(note, "Loading …");
    try {
      if (live.hello && !live.hello.ledger) throw new Refused(404, "no_store", "");
      const found = await get("admin/requests", { ...filters(), limit: PAGE });
      if (mine !== asked || !following) return;
      merge(found.data);
      arrived();
    } catch (error) {
      if (mine !== asked) return;
      say(note, "");
      if (error.code !== "no_store") said.show(error.message);
      else {
        // The tail lives without a store; there is nothing to search.
        say(note, "Live. Nothing is kept (store.url, store.ledger): what is shown is gone with the page.");
        find.disabled = true;
        arrived();
      }
    }
  };
  const change = () => {
    if (!live.hello || !live.snapshot) return;
    if (models.childElementCount !== live.hello.models.length) fill(models, live.hello.models.map((name) => h("option", { value: name })));
    const names = Object.keys(live.snapshot.health.providers);
    if (provider.childElementCount !== names.length + 1) {
      const chosen = provider.value;
      fill(provider, ["", ...names].map((name) => h("option", { value: name }, name || "any")));
      provider.value = chosen;
    }
  };
  form.addEventListener("input", () => following && follow());
  live.addEventListener("change", change);
  live.addEventListener("requests", arrived);
  // What ended while there was no connection is in the ledger.
  const again = () => following && load();
  live.addEventListener("hello", again);
  put([]);
  change();
  load();
  return () => {
    live.removeEventListener("change", change);
    live.removeEventListener("requests", arrived);
    live.removeEventListener("hello", again);
  };
}
