// SPDX-License-Identifier: Apache-2.0
// The list of jobs, newest first, kept up to date by events while somebody looks.

import { all, ask, events } from "./api.js";
import { atLeast, now } from "./clock.js";
import { button, card, chip, fill, h, table, when } from "./dom.js";
import { trouble } from "./frame.js";
import { gpuTime, number, span } from "./units.js";
import { language, t, word } from "./words.js";

const STEP = 100; // jobs shown, and how many more on demand
const SHOWN_MAX = 1000;
const FORECAST_MS = 1_800_000; // a forecast that is older says nothing
const LOOK_MS = 5000;
const SETTLE_MS = 300;
const TONES = { succeeded: "good", failed: "bad", rejected: "bad", running: "busy", starting: "busy", stopping: "busy" };

export async function jobs({ main, who, signal }) {
  const known = new Map();
  const list = h("div", {});
  const tiles = h("ul", { class: "tiles" });
  const filter = h("select", { on: { change: () => load() } },
    ["", "pending", "running", "succeeded", "failed", "cancelled", "rejected"].map((state) =>
      h("option", { value: state }, state ? word("state", state) : t("all states"))));
  let room = STEP;
  let more = false;
  let waiting = false;
  let asked = 0;
  let soon = 0;
  let heard = new Map(); // by events, since the list was asked for

  async function load() {
    const meanwhile = new Map();
    heard = meanwhile;
    const query = new URLSearchParams({ limit: String(room) });
    if (filter.value) query.set("state", filter.value);
    const page = await ask("GET", `/v1/jobs?${query}`);
    more = page.next_cursor !== null;
    known.clear();
    for (const one of [...page.items, ...meanwhile.values()]) known.set(one.id, one);
    show();
  }

  function show() {
    waiting = false;
    const sorted = [...known.values()].sort((a, b) => Date.parse(b.submitted_at) - Date.parse(a.submitted_at));
    for (const old of sorted.splice(room)) {
      known.delete(old.id);
      more = true;
    }
    const kept = document.activeElement?.getAttribute("href");
    if (!sorted.length) fill(list, empty(filter.value));
    else {
      fill(list, table(t("Jobs, newest first"), heads(who), sorted.map((one) => row(one, who))),
        more && (room < SHOWN_MAX ? button(t("Show more"), further, "plain") : h("p", { class: "quiet" }, t("`leitstand jobs` lists all."))));
      if (kept) list.querySelector(`a[href="${CSS.escape(kept)}"]`)?.focus();
    }
  }

  async function further() {
    room += STEP;
    await load();
  }

  async function capacity() {
    asked = Date.now();
    const [sites, tenants] = await Promise.all([ask("GET", "/v1/sites"), all("/v1/tenants")]);
    fillTiles(tiles, sites.items, tenants);
  }

  /** Once all is quiet or LOOK_MS are over: many jobs change at once, and this counts all of them. */
  function capacitySoon() {
    clearTimeout(soon);
    soon = setTimeout(() => { if (!signal.aborted) capacity().catch(() => {}); }, Math.min(SETTLE_MS, Math.max(asked + LOOK_MS - Date.now(), 0)));
  }

  fill(main,
    h("div", { class: "title" }, h("h1", {}, t("Jobs")), h("label", { class: "inline" }, t("Show"), " ", filter), h("a", { class: "button", href: "#run" }, t("Run a job"))),
    tiles, card("", list));
  await load();
  await capacity();
  whileSeen(signal, (until) => events(() => "/v1/events", (name, one) => {
    if (name !== "job" || (filter.value && one.state !== filter.value && !known.has(one.id))) return false;
    atLeast(one.submitted_at, one.started_at, one.ended_at);
    known.set(one.id, one);
    heard.set(one.id, one);
    if (!waiting) {
      waiting = true;
      requestAnimationFrame(() => { if (!until.aborted) { show(); capacitySoon(); } });
    }
    return false;
  }, until, () => load().catch(() => {})), (problem) => fill(main, trouble(problem)));
}

/** Run `watch(signal)` while the page is seen: a hidden one holds no connection. */
export function whileSeen(signal, watch, failed) {
  let until = null;
  const begin = () => {
    until = new AbortController();
    watch(until.signal).catch((problem) => { if (!until.signal.aborted) failed(problem); });
  };
  const turn = () => {
    if (document.hidden) until.abort();
    else if (until.signal.aborted && !signal.aborted) begin();
  };
  document.addEventListener("visibilitychange", turn, { signal });
  signal.addEventListener("abort", () => until?.abort());
  begin();
}

/** The state of a job as a word with a tone. */
export function stateChip(job) {
  return chip(TONES[job.state] ?? "calm", word("state", job.state));
}

/** Why a job waits, or how it ended, in words. */
export function reasonText(job) {
  if (!job.reason) return "";
  if (language === "en") return job.message || job.reason;
  const said = word("message", job.reason);
  if (said === job.reason) return job.message || word("reason", job.reason);
  return said.replace("{exit_code}", job.exit_code).replace("{signal}", job.signal).replace("{max_duration}", span(job.max_duration_s));
}

/** When a job that waits will start, half of the time and nine times in ten; null if nobody knows. */
export function startText({ forecast }) {
  if (!forecast || now() - Date.parse(forecast.at) > FORECAST_MS) return null;
  const { at, until, p50, p90, deadline_chance: chance } = forecast;
  const beyond = t("not within {span}", { span: span((Date.parse(until) - Date.parse(at)) / 1000) });
  const parts = [t("starts"), " ", p50 ? when(p50) : beyond, ` (50 %), `, p90 ? when(p90) : beyond, ` (90 %)`];
  return chance === null ? parts : [...parts, "; ", t("early enough for its deadline: {n} %", { n: number(100 * chance) })];
}

export function shapeText({ resources, num_nodes: nodes }) {
  const each = resources.gpus ? `${number(resources.gpus)} GPU${resources.gpus > 1 ? "s" : ""}` : `${number(resources.cpus, 2)} CPU`;
  return nodes > 1 ? `${nodes} × ${each}` : each;
}

function heads(who) {
  return [t("Job"), t("State"), t("Reason"), ...(mixed(who) ? [t("Project")] : []), t("Asked for"), t("Submitted"), t("Used")];
}

function row(job, who) {
  const start = startText(job);
  return [
    [h("a", { href: `#job/${encodeURIComponent(job.id)}` }, job.id), job.name && h("span", { class: "name" }, job.name)],
    stateChip(job),
    [reasonText(job) || "–", start && h("span", { class: "name" }, start)],
    ...(mixed(who) ? [`${job.tenant} / ${job.project}`] : []),
    shapeText(job),
    when(job.submitted_at),
    job.usage.gpu_s ? gpuTime(job.usage.gpu_s) : job.usage.wall_s ? span(job.usage.wall_s) : "–",
  ];
}

/** Whether jobs of several projects can be in the list. */
function mixed(who) {
  return who.roles.length !== 1 || !who.roles[0].project;
}

function empty(state) {
  return h("div", { class: "empty" },
    h("p", {}, state ? t("No job is in this state.") : t("There is no job yet.")),
    !state && h("p", {}, h("a", { href: "#run" }, t("Run the first one: an example is ready."))));
}

function fillTiles(tiles, sites, tenants) {
  const total = sites.reduce((sum, site) => sum + site.gpus, 0);
  const free = sites.reduce((sum, site) => sum + site.gpus_free, 0);
  const waiting = tenants.reduce((sum, tenant) => sum + tenant.pending, 0);
  const tile = (value, unit, text) => h("li", {}, h("b", {}, value, unit && h("small", {}, ` ${unit}`)), h("span", {}, text));
  fill(tiles,
    tile(number(free), t("of {n} GPUs", { n: number(total) }), sites.some((site) => site.logical) ? t("free (logical: counted, not there)") : t("free")),
    tile(number(total - free), "", t("GPUs in use")),
    tile(number(waiting), "", tenants.length > 1 ? t("jobs wait, in {n} tenants", { n: number(tenants.length) }) : t("jobs wait")));
}
