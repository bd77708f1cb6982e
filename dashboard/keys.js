// Callers' keys: what each may, what it has spent, and the ways to make, change, rotate and revoke one. A key itself is shown
// once, in the dialog that made it, and is nowhere in the page after that.

import { ask, badge, dialog, empty, field, fill, h, notice, say, set } from "./elements.js";
import * as figures from "./figures.js";
import { call, get } from "./gateway.js";

const WINDOWS = ["day", "week", "month", "total"];

const limits = (key) => [
  key.rpm && `${figures.count(key.rpm)} requests / min`,
  key.tpm && `${figures.count(key.tpm)} tokens / min`,
  key.concurrency && `${figures.count(key.concurrency)} at once`,
].filter(Boolean);

function state(key) {
  if (key.revoked) return ["bad", `revoked ${figures.day(key.revoked)}`];
  if (key.expires && new Date(key.expires) < Date.now()) return ["bad", `expired ${figures.day(key.expires)}`];
  if (key.expires) return ["good", `until ${figures.day(key.expires)}`];
  return ["good", "active"];
}

function spent(key) {
  if (!key.budget) return h("span", {}, figures.usd(key.spent_usd), h("span", { class: "muted" }, " this month, no budget"));
  const part = key.budget.usd > 0 ? Math.min(key.spent_usd / key.budget.usd, 1) : 1;
  const meter = h("span", { class: `meter ${part >= 1 ? "bad" : part >= 0.8 ? "wary" : ""}`, role: "meter", "aria-label": "Budget used", "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.round(part * 100), "aria-valuetext": `${figures.share(part)} of ${figures.usd(key.budget.usd)}` });
  const bar = h("i");
  bar.style.width = `${part * 100}%`;
  meter.append(bar);
  const window = key.budget.window === "total" ? "in total" : `a ${key.budget.window}`;
  return h("div", { class: "spent" }, h("span", {}, figures.usd(key.spent_usd), h("span", { class: "muted" }, ` of ${figures.usd(key.budget.usd)} ${window} (${figures.share(part)})`)), meter);
}

/** The fields of a key's terms; `read` gives what is asked for, or throws what is wrong. */
function terms(key) {
  const name = h("input", { required: true, maxlength: 128, value: key?.name ?? "", placeholder: "team-a" });
  const models = h("input", { value: key?.models.join(", ") ?? "*", spellcheck: "false" });
  const number = (value) => h("input", { type: "number", min: 0, step: 1, value: value || "", placeholder: "no limit" });
  const [rpm, tpm, concurrency] = [number(key?.rpm), number(key?.tpm), number(key?.concurrency)];
  const usd = h("input", { type: "number", min: 0, step: "any", value: key?.budget?.usd ?? "", placeholder: "no budget" });
  const window = h("select", {}, WINDOWS.map((name) => h("option", { value: name }, name === "total" ? "in total" : `per ${name}`)));
  window.value = key?.budget?.window ?? "month";
  const expires = h("input", { value: key?.expires ?? "", placeholder: "never", spellcheck: "false" });
  return {
    first: name,
    element: h("div", { class: "terms" },
      field("Name", name), field("Models", models, "Public names or patterns, with commas between them. * is all."),
      field("Requests a minute", rpm), field("Tokens a minute", tpm), field("At once", concurrency),
      field("Budget in dollars", usd), field("Budget's window", window),
      field("Expires", expires, "A time from now such as 30d, or a day such as 2030-01-31.")),
    read: () => ({
      name: name.value.trim(),
      models: models.value.split(",").map((one) => one.trim()).filter(Boolean),
      rpm: Number(rpm.value || 0),
      tpm: Number(tpm.value || 0),
      concurrency: Number(concurrency.value || 0),
      budget: usd.value === "" ? null : { usd: Number(usd.value), window: window.value, unpriced: key?.budget?.unpriced ?? "refuse" },
      expires: expires.value.trim() || null,
    }),
  };
}

/** A form in a dialog; `send` gets its terms. */
function form(title, word, key, send) {
  const fields = terms(key);
  const said = notice();
  const button = h("button", { class: "primary", type: "submit" }, word);
  const content = h("form", { class: "key-form", onsubmit: async (event) => {
    event.preventDefault();
    said.clear();
    button.disabled = true;
    try {
      await send(fields.read());
      open.close();
    } catch (error) {
      said.show(error.message);
    } finally {
      button.disabled = false;
    }
  } }, fields.element, said.element, h("div", { class: "buttons" }, h("button", { type: "button", onclick: () => open.close() }, "Cancel"), button));
  const open = dialog(title, content);
  fields.first.focus();
}

/** Shows a key: the only time. */
function showOnce(made, why) {
  const secret = h("input", { readonly: true, class: "mono", "aria-label": "The key", onfocus: () => secret.select() });
  // No attribute: it would stand in the page's text.
  secret.value = made.key;
  const told = h("span", { class: "muted", role: "status" });
  const copy = h("button", { class: "primary", onclick: async () => {
    try {
      await navigator.clipboard.writeText(made.key);
      say(told, "Copied.");
    } catch {
      secret.focus();
      secret.select();
      say(told, "Selected: copy it with your keyboard.");
    }
  } }, "Copy");
  const open = dialog(why, h("div", { class: "once" },
    h("p", {}, `This is the key of ${made.name}. It is shown this once and stored nowhere: copy it now.`),
    h("div", { class: "secret" }, secret, copy), told), [h("button", { onclick: () => open.close() }, "I have it")]);
  open.element.addEventListener("close", () => { secret.value = ""; });
  secret.focus();
}

export function mount(host) {
  const said = notice();
  const body = h("tbody");
  const heads = [["Name"], ["State"], ["Models"], ["Limits"], ["Spent"], ["Made", "opt"], ["", "number"]];
  const table = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Keys" },
    h("table", { class: "stacks" }, h("thead", {}, h("tr", {}, heads.map(([text, style]) => h("th", { scope: "col", class: style }, text || h("span", { class: "unseen" }, "Orders"))))), body));
  const none = empty("No keys yet", "Make one for each team or service: each has its own limits, budget and usage.");
  const ended = h("input", { type: "checkbox", id: "ended", onchange: () => show() });
  const fresh = h("button", { class: "primary", onclick: () => form("A new key", "Make the key", null, async (terms) => {
    const made = await call("POST", "admin/keys", terms);
    showOnce(made, "The key is made");
    await load();
  }) }, "New key");
  const note = h("p", { class: "muted", role: "status" }, "Loading …");
  host.append(h("div", { class: "bar-line" }, fresh, h("label", { class: "check" }, ended, "Show ended keys"), note), said.element, h("section", { class: "panel" }, table, none));
  none.hidden = true;

  let keys = [];
  const change = async (what, good) => {
    said.clear();
    try {
      await what();
      if (good) said.show(good, "good");
    } catch (error) {
      said.show(error.message);
    }
    await load();
  };
  const row = (key) => {
    const over = state(key)[0] === "bad";
    const act = (word, doing, style = "") => h("button", { class: `small ${style}`, "aria-label": `${word}: ${key.name}`, onclick: doing }, word);
    const acts = key.revoked ? [] : [
      act("Edit", () => form(`Change ${key.name}`, "Save", key, async (terms) => { await call("PATCH", `admin/keys/${key.id}`, terms); await load(); })),
      act("Rotate", async () => {
        if (await ask(`Rotate ${key.name}?`, "A new key is made and shown once. The old one works for another 24 hours.", "Rotate")) {
          change(async () => showOnce(await call("POST", `admin/keys/${key.id}/rotate`, { overlap: "24h" }), "The new key"));
        }
      }),
      act("Revoke", async () => {
        if (await ask(`Revoke ${key.name}?`, "Callers with this key are refused at once, here and within a second at other gateways of the same store. This can't be undone.", "Revoke")) {
          change(() => call("DELETE", `admin/keys/${key.id}`), `${key.name} is revoked.`);
        }
      }, "danger"),
    ];
    const terms = limits(key);
    return h("tr", { class: over ? "over" : null, "data-key": key.id },
      h("th", { scope: "row" }, key.name, h("div", { class: "mono muted" }, `${key.prefix}…`), key.old_key_until && new Date(key.old_key_until) > Date.now() && h("div", { class: "wary-text" }, `old key until ${figures.moment(key.old_key_until)}`)),
      h("td", {}, badge(...state(key)).element),
      h("td", { class: "models whole", "data-label": "Models" }, key.models.includes("*") ? "all" : key.models.join(", ")),
      h("td", { class: "whole", "data-label": "Limits" }, terms.length ? terms.map((text) => h("span", { class: "term" }, text)) : h("span", { class: "muted" }, "none")),
      h("td", { class: "whole" }, spent(key)),
      h("td", { class: "opt" }, figures.day(key.created)),
      h("td", { class: "orders" }, acts));
  };
  const show = () => {
    const shown = keys.filter((key) => ended.checked || state(key)[0] !== "bad");
    fill(body, shown.map(row));
    table.hidden = shown.length === 0;
    none.hidden = shown.length > 0;
    const over = keys.length - keys.filter((key) => state(key)[0] !== "bad").length;
    say(note, `${figures.count(keys.length - over)} in force${over ? `, ${figures.count(over)} ended` : ""}. Keys of the settings file aren't listed.`);
  };
  const load = async () => {
    try {
      keys = (await get("admin/keys")).data;
      show();
    } catch (error) {
      say(note, "");
      table.hidden = true;
      if (error.code === "no_store") {
        fresh.disabled = true;
        said.show("Keys need a store, and store.url is empty. Name one, such as sqlite://data/stagedoor.db, and restart.", "wary");
      } else said.show(error.message);
    }
  };
  load();
  const timer = setInterval(() => document.querySelector("dialog") || load(), 10_000);
  return () => clearInterval(timer);
}
