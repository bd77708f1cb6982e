// The page: signing in, the way between views, light and dark, and whether the gateway is still there.

import { badge, empty, field, fill, h, notice, say, set } from "./elements.js";
import { span } from "./figures.js";
import { live, session, signIn, signOut } from "./gateway.js";
import * as overview from "./overview.js";

/** The first has come with the page; the others come when they are asked for, or when it has shown something. */
const VIEWS = [
  { id: "overview", title: "Overview", mount: overview.mount, live: true },
  { id: "providers", title: "Providers", load: () => import("./providers.js"), live: true },
  { id: "requests", title: "Requests", load: () => import("./requests.js"), live: true },
  { id: "keys", title: "Keys", load: () => import("./keys.js") },
  { id: "usage", title: "Usage", load: () => import("./usage.js") },
  { id: "route", title: "Route", load: () => import("./explainer.js") },
  { id: "playground", title: "Playground", load: () => import("./playground.js"), live: true },
];
/** So long after the first figures the other views are fetched, in milliseconds. */
const LEISURE = 500;

const page = document.getElementById("page");
let unmount = null;
let shell = null;

// Light and dark: the system's, unless the reader has chosen.

const THEMES = ["system", "light", "dark"];

function theme(wanted) {
  const chosen = THEMES.includes(wanted) ? wanted : "system";
  if (chosen === "system") document.documentElement.removeAttribute("data-theme");
  else document.documentElement.setAttribute("data-theme", chosen);
  try {
    localStorage.setItem("stagedoor-theme", chosen);
  } catch {
    // A browser without storage forgets it.
  }
  dispatchEvent(new Event("themechange"));
  return chosen;
}

function chosenTheme() {
  try {
    return localStorage.getItem("stagedoor-theme") ?? "system";
  } catch {
    return "system";
  }
}

function themeSwitch() {
  const options = THEMES.map((name) => h("option", { value: name }, name[0].toUpperCase() + name.slice(1)));
  const select = h("select", { id: "theme", onchange: () => theme(select.value) }, options);
  select.value = chosenTheme();
  return h("div", { class: "theme" }, h("label", { for: "theme" }, "Theme"), select);
}

// Signing in.

function loginForm(why, done) {
  const key = h("input", { type: "password", name: "password", autocomplete: "current-password", required: true, spellcheck: "false", id: "admin-key" });
  const user = h("input", { type: "text", name: "username", value: "admin", autocomplete: "username", class: "unseen", tabindex: "-1", "aria-hidden": "true" });
  const said = notice();
  const button = h("button", { class: "primary" }, "Sign in");
  const send = async (event) => {
    event.preventDefault();
    said.clear();
    button.disabled = true;
    try {
      await signIn(key.value);
      done();
    } catch (error) {
      said.show(error.status === 401 ? "This isn't the admin key." : error.message);
      key.select();
    } finally {
      button.disabled = false;
    }
  };
  return h("form", { class: "login", onsubmit: send },
    h("h1", {}, brandMark(), "Stagedoor"),
    why ? h("p", { class: "lead" }, why) : null,
    user,
    field("Admin key", key, "admin.key in the settings; without one, the key that the start printed on the terminal."),
    said.element,
    button);
}

function brandMark() {
  return h("img", { src: new URL("icon.svg", import.meta.url).pathname, alt: "", width: 24, height: 24 });
}

function showLogin() {
  leave();
  shell = null;
  document.title = "Sign in – Stagedoor";
  const form = loginForm("", enter);
  fill(page, [h("main", { class: "alone" }, form)]);
  form.querySelector("#admin-key").focus();
}

/** The session ended while the page was open: what is shown stays behind the question. */
function showLoginAgain() {
  if (document.querySelector("dialog.again")) return;
  const form = loginForm("The session is over: it lasts twelve hours, and ends when the gateway restarts.", () => {
    box.close();
    live.start();
    // What reads the live events goes on; the others ask anew.
    if (!shell.view?.live) show();
  });
  const box = h("dialog", { class: "again", "aria-label": "Sign in again" }, form);
  box.addEventListener("cancel", (event) => event.preventDefault());
  box.addEventListener("close", () => box.remove());
  document.body.append(box);
  box.showModal();
  form.querySelector("#admin-key").focus();
}

function showAlone(title, text, retry) {
  leave();
  shell = null;
  const again = retry ? h("button", { class: "primary", onclick: begin }, "Try again") : null;
  fill(page, [h("main", { class: "alone" }, h("div", { class: "login" }, h("h1", {}, brandMark(), title), h("p", { class: "lead" }, text), again))]);
}

// The frame around the views.

function frame() {
  const main = h("main", { id: "main", tabindex: "-1" });
  const links = VIEWS.map((view) => h("a", { href: `#/${view.id}`, "data-view": view.id }, view.title));
  const state = badge("none", "connecting");
  const told = h("span", { class: "told" });
  const banner = h("div", { class: "banner", role: "status", hidden: true });
  const leaveButton = h("button", { class: "quiet", onclick: () => signOut().catch(() => {}).then(() => { live.stop(); showLogin(); }) }, "Sign out");
  const skip = h("button", { class: "skip", onclick: () => main.focus() }, "Skip to the content");
  const side = h("header", { class: "side" },
    h("a", { class: "brand", href: "#/overview" }, brandMark(), h("span", {}, "Stagedoor")),
    h("nav", { "aria-label": "Views" }, links),
    h("div", { class: "foot" }, h("p", { class: "connection", role: "status" }, state.element, told), themeSwitch(), leaveButton));
  fill(page, [skip, side, h("div", { class: "content" }, banner, main)]);

  const change = () => {
    const snapshot = live.snapshot;
    const draining = live.connection === "open" && snapshot?.draining;
    if (draining) state.update("wary", "draining");
    else if (live.connection === "open") state.update("good", "live");
    else if (live.connection === "lost") state.update("bad", "no connection");
    else state.update("none", live.connection);
    say(told, snapshot ? `v${snapshot.health.version}, up ${span(Math.floor(snapshot.health.uptime_s / 60) * 60 || snapshot.health.uptime_s)}` : "");
    const lost = live.connection === "lost";
    banner.hidden = !(lost || draining);
    set(banner, "class", `banner ${lost ? "bad" : "wary"}`);
    if (lost) say(banner, "No connection to the gateway. What is shown is what was last known; it is tried again each second.");
    else if (draining) say(banner, "The gateway is draining: it takes no new requests.");
    set(main, "data-stale", lost);
  };
  live.addEventListener("change", change);
  change();
  return { main, links, banner };
}

function leave() {
  unmount?.();
  unmount = null;
}

function show() {
  if (!shell) return;
  const [, id = "overview", ...rest] = location.hash.split("/");
  const view = VIEWS.find((view) => view.id === id) ?? VIEWS[0];
  leave();
  const heading = h("h1", { tabindex: "-1" }, view.title);
  const host = h("div", { class: `view view-${view.id}` });
  fill(shell.main, [heading, host]);
  shell.links.forEach((link) => set(link, "aria-current", link.dataset.view === view.id ? "page" : null));
  // On a phone the row of links is longer than the screen.
  const nav = shell.links[0].parentElement;
  const current = shell.links.find((link) => link.dataset.view === view.id);
  nav.scrollLeft = current.offsetLeft - (nav.clientWidth - current.offsetWidth) / 2;
  document.title = `${view.title} – Stagedoor`;
  shell.view = view;
  const words = rest.map(decodeURIComponent);
  if (view.mount) unmount = view.mount(host, words);
  else mountLater(view, host, words);
  scrollTo(0, 0);
}

async function mountLater(view, host, words) {
  try {
    view.mount = (await view.load()).mount;
  } catch {
    fill(host, [empty("This view couldn't be fetched", "The gateway doesn't answer. Choose the view again once it does.")]);
    return;
  }
  // Another may have been chosen meanwhile.
  if (host.isConnected && shell?.view === view) unmount = view.mount(host, words);
}

/** Fetches the other views once there are figures to look at: they open at once then, and without the gateway. */
function fetchViews() {
  if (!live.snapshot) return;
  live.removeEventListener("change", fetchViews);
  setTimeout(() => VIEWS.forEach((view) => view.load?.().catch(() => {})), LEISURE);
}

function enter() {
  live.start();
  shell = frame();
  show();
}

async function begin() {
  let found;
  try {
    found = await session();
  } catch (error) {
    showAlone("Stagedoor", error.message, true);
    return;
  }
  if (found.signed_in) enter();
  else if (found.admin_key) showLogin();
  else showAlone("No admin key is set", "The dashboard opens with the admin key. Set admin.key in the settings, such as { env = \"STAGEDOOR_ADMIN_KEY\" }, then restart or reload the gateway by SIGHUP.", true);
}

live.addEventListener("signedout", showLoginAgain);
live.addEventListener("change", fetchViews);
addEventListener("hashchange", () => {
  show();
  shell?.main.querySelector("h1")?.focus({ preventScroll: true });
});
theme(chosenTheme());
begin();
