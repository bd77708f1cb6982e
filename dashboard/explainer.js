// Why a request would go where it goes: the targets of a model's chain in the order in which they would be tried now, each
// with its state, its reason and its keys. Nothing is sent.

import { badge, empty, field, fill, h, notice, say, set } from "./elements.js";
import * as figures from "./figures.js";
import { get, live } from "./gateway.js";

const TONES = { ready: "good", due: "wary", degraded: "wary", ramping: "wary", out: "bad" };
const WORDS = { ready: "ready", due: "due for a probe", degraded: "degraded", ramping: "returning", out: "out" };
const KEYS = { active: "good", cooling: "wary", disabled: "bad" };

function step(target, chosen) {
  const keys = target.keys.map((key) => h("li", {},
    h("span", { class: "mono" }, key.name), badge(KEYS[key.status], key.status).element,
    h("span", { class: "muted" }, [key.wait_s !== null ? `for ${figures.span(key.wait_s)}` : "", key.calls_left !== null ? `${figures.count(key.calls_left)} calls left` : ""].filter(Boolean).join(", "))));
  return h("li", { class: `rung ${target.in ? "" : "out"} ${chosen ? "chosen" : ""}` },
    h("span", { class: "rank" }, target.in ? String(target.order) : "–"),
    h("div", { class: "body" },
      h("div", { class: "line" }, h("strong", {}, target.provider), h("span", { class: "muted" }, target.model), badge(TONES[target.state], WORDS[target.state] ?? target.state).element, chosen && h("span", { class: "chip accent" }, "tried first")),
      h("p", {}, target.reason),
      h("dl", { class: "facts" },
        h("div", {}, h("dt", {}, "Pool"), h("dd", {}, target.pool)),
        h("div", {}, h("dt", {}, "Score (less is better)"), h("dd", {}, figures.rate(target.score)))),
      keys.length > 0 && h("ul", { class: "keys" }, keys)));
}

export function mount(host, [asked]) {
  const models = h("datalist", { id: "route-models" });
  const model = h("input", { list: "route-models", value: asked ?? live.hello?.models.find((name) => !name.includes("*")) ?? "", spellcheck: "false", required: true });
  const said = notice();
  const list = h("ol", { class: "route-steps", "aria-label": "Targets in order" });
  const left = h("p", { class: "muted" });
  const none = empty("No target", "Name a model to see where its requests would go now.");
  const now = h("p", { class: "muted", role: "status" });
  const form = h("form", { class: "filters one", onsubmit: (event) => { event.preventDefault(); load(); } },
    models, field("Model", model), h("div", { class: "buttons" }, h("button", { class: "primary" }, "Explain")));
  host.append(h("section", { class: "panel" }, form, now), said.element, list, left, none);

  let mine = 0;
  const load = async () => {
    const name = model.value.trim();
    const own = ++mine;
    if (!name) return;
    try {
      const told = await get("admin/route", { model: name });
      if (own !== mine) return;
      said.clear();
      const first = told.targets.findIndex((target) => target.in);
      fill(list, told.targets.map((target, place) => step(target, place === first)));
      none.hidden = told.targets.length > 0;
      say(left, told.left_out.length ? `Left out, as their provider has no key: ${told.left_out.join(", ")}.` : "");
      say(now, `As of ${figures.clock(Date.now())}. A request with a key, tools or images may find fewer targets fit.`);
    } catch (error) {
      if (own !== mine) return;
      fill(list, []);
      say(left, "");
      none.hidden = true;
      said.show(error.message);
    }
  };
  const change = () => {
    if (!live.hello) return;
    fill(models, live.hello.models.map((name) => h("option", { value: name })));
    set(model, "placeholder", "a public model");
    if (!model.value && document.activeElement !== model) {
      model.value = live.hello.models.find((name) => !name.includes("*")) ?? "";
      load();
    }
    live.removeEventListener("change", change);
  };
  model.addEventListener("change", load);
  live.addEventListener("change", change);
  live.addEventListener("transitions", load);
  change();
  load();
  const timer = setInterval(() => document.hidden || load(), 5_000);
  return () => {
    clearInterval(timer);
    live.removeEventListener("change", change);
    live.removeEventListener("transitions", load);
  };
}
