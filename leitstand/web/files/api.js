// SPDX-License-Identifier: Apache-2.0
// Requests to the API of this server, with the session that the browser keeps, or with a claim. Used by the pages.

import { hear as hearTime } from "./clock.js";
import { language, t } from "./words.js";

const PAGES_MAX = 20;
const PAUSE_MS = [500, 1000, 2000, 5000];
const EVENT_CHARS_MAX = 4 * 1024 * 1024;

/** An answer that refuses. `code` is stable; `errors`: what is wrong where. */
export class Problem extends Error {
  constructor(status, body, waitS = 0) {
    super(status === 429 && waitS ? t("Too many attempts. Try again in {n} s.", { n: waitS })
      : body.detail || t("The server answered {status}.", { status }));
    this.status = status;
    this.code = body.code ?? "";
    this.errors = Array.isArray(body.errors) ? body.errors : [];
    this.hint = body.hint ?? "";
    this.job = body.job ?? "";
  }
}

/** The JSON of an answer, null if it has none. `more`: claim, headers. Problem if refused, or if nobody answers. */
export async function ask(method, path, body, more = {}) {
  const headers = { Accept: "application/json", ...more.headers };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (more.claim) headers.Authorization = `Bearer ${more.claim}`;
  let response;
  try {
    response = await fetch(path, {
      method, headers, credentials: "same-origin", redirect: "error", signal: more.signal,
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { code: "unreachable", detail: t("The server cannot be reached. Is it running?") });
  }
  hearTime(response);
  if (!response.ok) throw await refusal(response);
  return response.status === 204 ? null : response.json();
}

/** Every item of a listing, over its pages. */
export async function all(path) {
  const found = [];
  let cursor = null;
  for (let page = 0; page < PAGES_MAX; page += 1) {
    const joint = path.includes("?") ? "&" : "?";
    const answer = await ask("GET", cursor ? `${path}${joint}cursor=${encodeURIComponent(cursor)}` : path);
    found.push(...answer.items);
    cursor = answer.next_cursor ?? null;
    if (!cursor) break;
  }
  return found;
}

/** A listing, or none where it is not for who asks. */
export async function allIfAllowed(path) {
  try {
    return await all(path);
  } catch (problem) {
    if ([403, 404].includes(problem.status)) return [];
    throw problem;
  }
}

/** A path under /v1, each part quoted. */
export function at(...parts) {
  return `/v1/${parts.map(encodeURIComponent).join("/")}`;
}

/** A key by which a request that is sent twice has its effect once. */
export function onceKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Server-sent events of `path()`, asked anew where the connection broke, until `signal` ends it or `hear` returns true.
 * `hear(name, data, id)` gets each; `opened()` is called when a connection stands: what changed before, no event tells.
 * A Problem below 500 ends it, too.
 */
export async function events(path, hear, signal, opened = () => {}) {
  for (let tries = 0; !signal.aborted; tries += 1) {
    try {
      const response = await fetch(path(), { headers: { Accept: "text/event-stream" }, credentials: "same-origin", signal });
      hearTime(response);
      if (!response.ok) throw await refusal(response);
      opened();
      for await (const event of parts(response.body)) {
        tries = 0;
        if (hear(event.name, JSON.parse(event.data), event.id)) return;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Problem && error.status < 500 && error.status !== 429) throw error;
    }
    await pause(PAUSE_MS[Math.min(tries, PAUSE_MS.length - 1)], signal);
  }
}

async function* parts(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      rest += value;
      let end;
      while ((end = rest.indexOf("\n\n")) >= 0) {
        const event = { name: "message", data: "", id: "" };
        for (const line of rest.slice(0, end).split("\n")) {
          if (line.startsWith("event: ")) event.name = line.slice(7);
          else if (line.startsWith("data: ")) event.data += line.slice(6);
          else if (line.startsWith("id: ")) event.id = line.slice(4);
        }
        rest = rest.slice(end + 2);
        if (event.data) yield event;
      }
      if (rest.length > EVENT_CHARS_MAX) throw new Error("an event without an end");
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

async function refusal(response) {
  let body = {};
  try {
    body = await response.json();
  } catch {
    // no problem details: the status says it
  }
  return new Problem(response.status, body, Number(response.headers.get("Retry-After")) || 0);
}

function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}

export const agreementPath = () => `/v1/agreement?language=${language}`;
