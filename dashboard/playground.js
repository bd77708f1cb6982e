// A playground: asks a model as a caller would, through the same door and with a caller's key, and shows the words as they
// come, with the times and the route that they took. The key is kept by this page alone, until it is left.

import { field, fill, h, notice, say, set } from "./elements.js";
import * as figures from "./figures.js";
import { at, call, live } from "./gateway.js";

/** Kept from view to view, never stored. */
const kept = { key: "", model: "", system: "", words: "Tell me in two sentences what a stage door is.", stream: true, most: "" };

export function mount(host) {
  const models = h("datalist", { id: "play-models" });
  const model = h("input", { list: "play-models", required: true, spellcheck: "false", value: kept.model });
  const key = h("input", { type: "password", autocomplete: "off", spellcheck: "false", value: kept.key });
  const system = h("textarea", { rows: 2 });
  const words = h("textarea", { rows: 5, required: true });
  const most = h("input", { type: "number", min: 1, step: 1, placeholder: "the model's own", value: kept.most });
  const stream = h("input", { type: "checkbox", id: "play-stream" });
  system.value = kept.system;
  words.value = kept.words;
  stream.checked = kept.stream;
  const said = notice();
  const make = h("button", { type: "button", class: "small", onclick: () => makeKey() }, "Make one for an hour");
  const keyField = field("Caller's key", key);
  keyField.append(make);
  const send = h("button", { class: "primary", type: "submit" }, "Send");
  const stop = h("button", { type: "button", disabled: true, onclick: () => running?.abort() }, "Stop");
  const out = h("div", { class: "answer", role: "log", "aria-live": "polite", "aria-label": "Answer", tabindex: "0" });
  const facts = h("dl", { class: "facts" });
  const how = h("p", { class: "muted", role: "status" }, "Nothing was sent yet.");
  const form = h("form", { class: "play-form", onsubmit: (event) => { event.preventDefault(); ask(); } },
    models, field("Model", model), keyField, field("System prompt", system), field("Message", words), field("Tokens at most", most),
    h("label", { class: "check" }, stream, "Stream the answer"),
    said.element,
    h("div", { class: "buttons" }, stop, send));
  host.append(h("div", { class: "play" }, h("section", { class: "panel" }, form), h("section", { class: "panel result" }, h("h2", {}, "Answer"), how, out, facts)));

  const keep = () => Object.assign(kept, { key: key.value, model: model.value, system: system.value, words: words.value, stream: stream.checked, most: most.value });
  form.addEventListener("input", keep);

  const makeKey = async () => {
    make.disabled = true;
    said.clear();
    try {
      const made = await call("POST", "admin/keys", { name: "dashboard playground", expires: "1h", concurrency: 2 });
      key.value = made.key;
      keep();
      said.show("A key was made that ends in an hour. It is filled in above.", "good");
    } catch (error) {
      said.show(error.message);
    } finally {
      make.disabled = false;
    }
  };

  let running = null;
  const ask = async () => {
    keep();
    said.clear();
    running?.abort();
    const mine = new AbortController();
    running = mine;
    out.replaceChildren();
    fill(facts, []);
    set(stop, "disabled", null);
    send.disabled = true;
    say(how, "Asking …");
    const began = performance.now();
    const seen = { first: null, usage: null, finish: null, words: 0 };
    let answer = null;
    try {
      answer = await fetch(at("v1/chat/completions"), {
        method: "POST",
        signal: mine.signal,
        credentials: "omit",
        headers: { "content-type": "application/json", ...(key.value ? { authorization: `Bearer ${key.value}` } : {}) },
        body: JSON.stringify({
          model: model.value.trim(),
          messages: [...(system.value ? [{ role: "system", content: system.value }] : []), { role: "user", content: words.value }],
          ...(most.value ? { max_tokens: Number(most.value) } : {}),
          ...(stream.checked ? { stream: true, stream_options: { include_usage: true } } : {}),
        }),
      });
      if (!answer.ok) throw new Error((await answer.json().catch(() => null))?.error?.message ?? `The gateway answered ${answer.status}.`);
      if (stream.checked) await follow(answer, seen, began);
      else whole(await answer.json(), seen);
      say(how, "Done.");
    } catch (error) {
      const stopped = mine.signal.aborted;
      say(how, stopped ? "Stopped." : "It failed.");
      if (!stopped) said.show(error.message);
    }
    tell(answer, seen, performance.now() - began);
    if (running === mine) {
      running = null;
      stop.disabled = true;
      send.disabled = false;
    }
  };

  const add = (text, thought = false) => {
    const last = out.lastElementChild;
    const same = last && last.classList.contains("thought") === thought;
    const part = same ? last : h("p", { class: thought ? "thought" : "said" });
    if (!same) out.append(part);
    part.append(text);
    out.scrollTop = out.scrollHeight;
  };

  const whole = (json, seen) => {
    const choice = json.choices?.[0];
    seen.usage = json.usage;
    seen.finish = choice?.finish_reason;
    if (choice?.message?.reasoning_content) add(choice.message.reasoning_content, true);
    add(choice?.message?.content ?? "");
  };

  /** Reads the stream's events. One that ends without [DONE] isn't whole, and is never shown as if it were. */
  const follow = async (answer, seen, began) => {
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    let done = false;
    for (;;) {
      const { value, done: over } = await reader.read();
      if (over) break;
      rest += value;
      const lines = rest.split(/\r?\n/);
      rest = lines.pop();
      for (const line of lines) {
        if (!line.startsWith("data:")) continue;
        const data = line.slice(5).trim();
        if (data === "[DONE]") {
          done = true;
          continue;
        }
        const event = JSON.parse(data);
        if (event.error) throw new Error(event.error.message);
        const choice = event.choices?.[0];
        seen.usage = event.usage ?? seen.usage;
        seen.finish = choice?.finish_reason ?? seen.finish;
        const thought = choice?.delta?.reasoning_content ?? choice?.delta?.reasoning;
        if (!thought && !choice?.delta?.content) continue;
        seen.first ??= performance.now() - began;
        seen.words += 1;
        if (thought) add(thought, true);
        if (choice.delta.content) add(choice.delta.content);
        say(how, `${figures.count(seen.words)} pieces so far …`);
      }
    }
    if (!done) throw new Error("The stream broke off before its end.");
  };

  const tell = (answer, seen, took) => {
    const header = (name) => answer?.headers.get(name);
    const usage = seen.usage;
    const speed = usage && seen.first !== null && took > seen.first ? usage.completion_tokens / ((took - seen.first) / 1000) : null;
    const pairs = [
      ["Served by", header("x-stagedoor-provider") && `${header("x-stagedoor-provider")} / ${header("x-stagedoor-model")}`],
      ["Route", header("x-stagedoor-route")],
      ["First word", seen.first === null ? null : figures.ms(seen.first)],
      ["Whole", answer ? figures.ms(took) : null],
      ["Tokens", usage && `${figures.count(usage.prompt_tokens)} in, ${figures.count(usage.completion_tokens)} out`],
      ["Speed", speed && `${figures.rate(speed)} tokens /s`],
      ["Cost", header("x-stagedoor-cost") && figures.usd(Number(header("x-stagedoor-cost").replace("$", "")))],
      ["Gateway's own time", header("x-stagedoor-overhead-us") && figures.ms(Number(header("x-stagedoor-overhead-us")) / 1000)],
      ["Cache", header("x-stagedoor-cache")],
      ["Ended by", seen.finish],
      ["Request", header("x-request-id")],
    ];
    fill(facts, pairs.filter(([, text]) => text).map(([label, text]) => h("div", {}, h("dt", {}, label), h("dd", { class: label === "Request" || label === "Route" ? "mono" : null }, text))));
  };

  const change = () => {
    const hello = live.hello;
    if (!hello) return;
    live.removeEventListener("change", change);
    fill(models, hello.models.map((name) => h("option", { value: name })));
    if (!model.value) model.value = hello.models.find((name) => !name.includes("*")) ?? "";
    keyField.hidden = hello.open;
    make.hidden = !hello.store;
    key.required = !hello.open;
    keep();
    if (!hello.serving) {
      said.show("The admin plane has an address of its own here (admin.listen), which serves no models: this page can't call them. Ask at the gateway's serving address.", "wary");
      send.disabled = true;
    }
  };
  live.addEventListener("change", change);
  change();
  return () => {
    live.removeEventListener("change", change);
    running?.abort();
  };
}
