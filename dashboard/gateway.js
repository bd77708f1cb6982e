// Talks to the gateway: the session, the admin plane's calls, and the live events that every view reads from.
// What comes from there is data: it is shown as text, never as markup.

const root = new URL("../", import.meta.url);

/** The address of a path of this gateway, behind a proxy's prefix too. */
export const at = (path) => new URL(path, root);

/** An answer that isn't good, or none. */
export class Refused extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

let csrf = "";

/** Calls the gateway and returns the answer's JSON. */
export async function call(method, path, body, headers = {}) {
  // What the gateway answers says itself that it isn't to be stored.
  const init = { method, headers: { ...headers }, credentials: "same-origin" };
  if (method !== "GET" && path.startsWith("admin/")) init.headers["x-stagedoor-csrf"] = csrf;
  if (body !== undefined) {
    init.headers["content-type"] = "application/json";
    init.body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(at(path), init);
  } catch {
    throw new Refused(0, "unreachable", "The gateway doesn't answer.");
  }
  let json = null;
  try {
    json = await answer.json();
  } catch {
    // Told by the status below.
  }
  if (answer.ok) return json;
  const error = json?.error ?? {};
  if (answer.status === 401 && path !== "admin/session" && path.startsWith("admin/")) live.signedOut();
  throw new Refused(answer.status, error.code ?? "", error.message ?? `The gateway answered ${answer.status}.`);
}

export const get = (path, query = {}) => {
  const pairs = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const text = new URLSearchParams(pairs).toString();
  return call("GET", text ? `${path}?${text}` : path);
};

/** Where the admin plane is for the browser, behind a proxy's prefix too: the session's cookie is for there alone. */
const base = { "x-stagedoor-base": root.pathname };

/** Whether there is a session; its token is kept for what changes something. The page has asked while its scripts came. */
export async function session() {
  const found = await call("GET", "admin/session");
  csrf = found.csrf ?? "";
  return found;
}

export async function signIn(key) {
  const found = await call("POST", "admin/session", { key }, base);
  csrf = found.csrf;
}

export async function signOut() {
  await call("DELETE", "admin/session", undefined, base);
  csrf = "";
}

/** Seconds that charts look back, and events that are kept. */
const SECONDS = 300;
const ROWS = 500;
const MOVES = 500;
/** Without a word for so long the connection counts as lost, in milliseconds. */
const SILENCE = 5000;
/** A page that nobody has seen for so long listens no more until it is seen: of one gateway a browser holds six connections. */
const UNSEEN = 5000;

/** What an actor was told in one millisecond it has counted. */
const newest = (a, b) => b.time.localeCompare(a.time) || (a.provider === b.provider && b.seq - a.seq) || b.id.localeCompare(a.id);

/**
 * The gateway live. `connection` is "idle", "connecting", "open", "paused" or "lost"; views listen to "change" (a snapshot, or
 * another connection), "hello" (a connection begins), "requests", "transitions" and "signedout".
 */
class Live extends EventTarget {
  connection = "idle";
  hello = null;
  snapshot = null;
  seconds = [];
  requests = [];
  transitions = [];
  passedOver = 0;
  #source = null;
  #heard = 0;
  #timer = 0;
  #unseen = 0;
  #looking = false;

  constructor() {
    super();
    document.addEventListener("visibilitychange", () => this.#watched());
  }

  start() {
    this.#turn(this.snapshot && this.connection !== "paused" ? "lost" : "connecting");
    this.#open();
    clearInterval(this.#timer);
    this.#timer = setInterval(() => this.#look(), 1000);
    this.#watched();
  }

  stop() {
    this.#close("idle");
  }

  #close(connection) {
    clearInterval(this.#timer);
    clearTimeout(this.#unseen);
    this.#source?.close();
    this.#source = null;
    this.#turn(connection);
  }

  #watched() {
    clearTimeout(this.#unseen);
    if (this.connection === "idle") return;
    if (document.hidden) this.#unseen = setTimeout(() => this.#close("paused"), UNSEEN);
    else if (this.connection === "paused") this.start();
  }

  signedOut() {
    if (this.connection === "idle") return;
    this.stop();
    this.dispatchEvent(new Event("signedout"));
  }

  #turn(connection) {
    if (this.connection === connection) return;
    this.connection = connection;
    this.dispatchEvent(new Event("change"));
  }

  #open() {
    this.#source?.close();
    this.#heard = Date.now();
    const source = new EventSource(at("admin/events"));
    this.#source = source;
    const on = (name, hear) =>
      source.addEventListener(name, (event) => {
        this.#heard = Date.now();
        hear(JSON.parse(event.data));
      });
    on("hello", (hello) => this.#welcomed(hello));
    on("reload", (changed) => Object.assign(this.hello, changed));
    on("snapshot", (snapshot) => this.#seen(snapshot));
    on("request", (row) => {
      this.requests.unshift(row);
      this.requests.length = Math.min(this.requests.length, ROWS);
      this.dispatchEvent(new CustomEvent("requests", { detail: row }));
    });
    on("transition", (moved) => {
      this.learn([moved]);
      this.dispatchEvent(new CustomEvent("transitions", { detail: moved }));
    });
    source.onerror = () => {
      // The browser would try again by itself, but not ask whether the session is still one.
      source.close();
      if (this.#source === source) this.#source = null;
      if (this.connection !== "idle") this.#turn("lost");
    };
  }

  #welcomed(hello) {
    this.hello = hello;
    this.seconds = hello.past;
    this.dispatchEvent(new Event("hello"));
    get("admin/transitions", { limit: 500, since: "1d" })
      .then((page) => {
        this.learn(page.data);
        this.dispatchEvent(new Event("transitions"));
      })
      .catch(() => {});
  }

  #seen(snapshot) {
    this.snapshot = snapshot;
    this.passedOver = snapshot.passed_over;
    if (snapshot.second) {
      this.seconds.push(snapshot.second);
      if (this.seconds.length > SECONDS) this.seconds.splice(0, this.seconds.length - SECONDS);
    }
    this.connection = "open";
    this.dispatchEvent(new Event("change"));
  }

  /** Takes moves in, each once, the newest first. */
  learn(moves) {
    const known = new Map(this.transitions.map((moved) => [moved.id, moved]));
    moves.forEach((moved) => known.set(moved.id, moved));
    this.transitions = [...known.values()].sort(newest).slice(0, MOVES);
  }

  async #look() {
    if (this.#looking || (this.#source && Date.now() - this.#heard < SILENCE)) return;
    this.#turn("lost");
    this.#looking = true;
    try {
      const found = await session();
      if (found.signed_in) this.#open();
      else this.signedOut();
    } catch {
      // Still away: asked again in a second.
    } finally {
      this.#looking = false;
    }
  }
}

export const live = new Live();
