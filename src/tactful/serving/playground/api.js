// Asking the server, and saying in words why it did not answer.

const PATIENCE = 60000;
const KEY = "tactful.key";

export const server = {
  needs_key: false, keeps_decisions: false, act: 0.5, max_text: 5000, max_texts: 32, prompt: "{text}",
};

let key = null;
try { key = sessionStorage.getItem(KEY); } catch { /* then it lives as long as the page */ }

export const hasKey = () => Boolean(key);

export function useKey(value) {
  key = value || null;
  try {
    if (key) sessionStorage.setItem(KEY, key);
    else sessionStorage.removeItem(KEY);
  } catch { /* as above */ }
}

// `kind` is for programs: offline, timeout, stopped, no_key, too_long, too_many, busy, other.
export class Refusal extends Error {
  constructor(kind, message, wait = 0) {
    super(message);
    this.kind = kind;
    this.wait = wait;
  }
}

let noKey = () => {};
export const onNoKey = (what) => { noKey = what; };

export async function load() {
  const answer = await send("playground/settings", undefined, {});
  Object.assign(server, answer);
}

export const ask = (route, body, options = {}) => send(route, body, options);

async function send(route, body, { signal, patience = PATIENCE } = {}) {
  const own = new AbortController();
  const clock = setTimeout(() => own.abort("late"), patience);
  const stop = () => own.abort("stopped");
  signal?.addEventListener("abort", stop);
  if (signal?.aborted) stop();
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (key) headers.Authorization = `Bearer ${key}`;
  try {
    const response = await fetch(route, {
      method: body === undefined ? "GET" : "POST",
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: own.signal,
      credentials: "omit",
      cache: "no-store",
      redirect: "error",
    });
    const text = await response.text();
    if (response.ok) return JSON.parse(text);
    throw refusal(response, text);
  } catch (error) {
    if (error instanceof Refusal) throw error;
    if (own.signal.aborted && own.signal.reason === "late") {
      throw new Refusal("timeout", `The server has not answered within ${patience / 1000} seconds. It may be busy with a long text; try again, or try a shorter one.`);
    }
    if (own.signal.aborted) throw new Refusal("stopped", "Stopped.");
    throw new Refusal("offline", "The server cannot be reached. Is tactful serve still running?");
  } finally {
    clearTimeout(clock);
    signal?.removeEventListener("abort", stop);
  }
}

const seconds = (n) => `${n} ${n === 1 ? "second" : "seconds"}`;

const BUSY = {
  queue_full: "More texts are waiting than the server can do.",
  deadline: "The text was not done in time: the server is busy, or the text is long.",
  engine_down: "The engine is starting, or was lost over this text.",
  stopping: "The server is being stopped.",
  busy: "The server has too many requests at a time.",
};

function refusal(response, text) {
  let fault = {};
  try { fault = JSON.parse(text).error ?? {}; } catch { /* a proxy's own page */ }
  const wait = Math.max(0, Math.min(3600, Number(response.headers.get("Retry-After")) || 0));
  const again = wait ? ` Try again in ${seconds(wait)}.` : " Try again.";
  const told = fault.message ? ` The server says: ${fault.message}.` : "";
  switch (response.status) {
    case 401:
      noKey();
      return new Refusal("no_key", key
        ? "The server does not know this key. Check it and give it again."
        : "This server asks for a key. Give it above.");
    case 408:
      return new Refusal("timeout", "Sending took too long. Check the connection and try again.");
    case 413:
      return new Refusal("too_long", `This is more than the server takes at a time.${told}`);
    case 422:
      return new Refusal("unreadable", `The server could not use this.${told}`);
    case 429:
      return new Refusal("too_many", `This key has used up what it may ask for now.${again}`, wait || 5);
    case 503:
      return new Refusal("busy", (BUSY[fault.code] ?? `The server cannot do this now.${told}`) + again, wait || 2);
    default:
      return new Refusal("other", response.status >= 500
        ? `The server made a mistake (${response.status}). Its log says more; try again later.`
        : `The server refused this (${response.status}).${told}`);
  }
}
