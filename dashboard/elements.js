// Small tools for making and changing elements. Text goes in as text; nothing here makes markup of it.

/**
 * Makes an element: h("p", { class: "note", onclick: f, hidden: true }, "text", child). Attributes whose value is null,
 * undefined or false are left out.
 */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else set(element, key, value);
  }
  element.append(...children.flat(9).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Sets or takes away an attribute, if it isn't so already. */
export function set(element, name, value) {
  if (value === null || value === undefined || value === false) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
  } else {
    const text = value === true ? "" : String(value);
    if (element.getAttribute(name) !== text) element.setAttribute(name, text);
  }
}

/** Says something, if it isn't said already: what doesn't change isn't touched, and keeps its selection. */
export function say(element, text) {
  const wanted = String(text);
  if (element.textContent !== wanted) element.textContent = wanted;
}

/** Puts these children into an element, in order; those that are there already stay where they are. */
export function fill(element, children) {
  const wanted = children.flat(9).filter(Boolean);
  wanted.forEach((child, place) => {
    if (element.childNodes[place] !== child) element.insertBefore(child, element.childNodes[place] ?? null);
  });
  while (element.childNodes.length > wanted.length) element.lastChild.remove();
}

/** Keeps one child for each item, by its name: made once, changed ever after. */
export function keyed(element, make) {
  const kept = new Map();
  return (items, name) => {
    const names = new Set();
    const children = items.map((item) => {
      const key = name(item);
      names.add(key);
      if (!kept.has(key)) kept.set(key, make(item));
      const part = kept.get(key);
      part.update?.(item);
      return part.element;
    });
    for (const key of kept.keys()) if (!names.has(key)) kept.delete(key);
    fill(element, children);
  };
}

/** A state in a word and a shape: "good", "wary", "bad" or "none". */
export function badge(tone = "none", text = "") {
  const word = h("span", {}, text);
  const element = h("span", { class: `badge ${tone}` }, h("span", { class: "mark", "aria-hidden": "true" }), word);
  return {
    element,
    update(tone, text) {
      set(element, "class", `badge ${tone}`);
      say(word, text);
    },
  };
}

/** The tone of a breaker's state, a provider's status or a key's. */
export const TONES = {
  closed: "good", healthy: "good", active: "good",
  half_open: "wary", degraded: "wary", cooling: "wary",
  open: "bad", ejected: "bad", disabled: "bad",
};

/** A labelled field. */
export function field(label, control, hint) {
  const id = control.id || `f${(field.next = (field.next ?? 0) + 1)}`;
  control.id = id;
  const note = hint ? h("span", { class: "hint", id: `${id}-hint` }, hint) : null;
  if (note) set(control, "aria-describedby", `${id}-hint`);
  return h("div", { class: "field" }, h("label", { for: id }, label), control, note);
}

/** A message in a live region: shown until it is cleared. */
export function notice() {
  const element = h("p", { class: "notice", role: "alert", hidden: true });
  return {
    element,
    show(text, tone = "bad") {
      say(element, text);
      set(element, "class", `notice ${tone}`);
      element.hidden = false;
    },
    clear() {
      say(element, "");
      element.hidden = true;
    },
  };
}

/** Where nothing is yet: says why, and what to do. */
export const empty = (title, text) => h("div", { class: "empty" }, h("strong", {}, title), h("p", {}, text));

/** Opens a dialog; closed by Escape, by its buttons, or by `close`. */
export function dialog(title, content, buttons = []) {
  const heading = h("h2", { id: "dialog-title" }, title);
  const box = h("dialog", { "aria-labelledby": "dialog-title" }, heading, content, buttons.length ? h("div", { class: "buttons" }, buttons) : "");
  box.addEventListener("close", () => box.remove());
  document.body.append(box);
  box.showModal();
  // Gone at once: the event of its end comes later.
  return { element: box, close: () => { box.close(); box.remove(); } };
}

/** Asks before something that matters; true where it is to be done. */
export function ask(title, text, word) {
  return new Promise((resolve) => {
    let answer = false;
    const yes = h("button", { class: "danger", onclick: () => { answer = true; open.close(); } }, word);
    const no = h("button", { onclick: () => open.close() }, "Cancel");
    const open = dialog(title, h("p", {}, text), [no, yes]);
    open.element.addEventListener("close", () => resolve(answer));
  });
}
