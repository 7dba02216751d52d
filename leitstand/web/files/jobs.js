// SPDX-License-Identifier: Apache-2.0
// The list of jobs, newest first, kept up to date by events while somebody looks.

import { ask, events } from "./api.js";
import { button, card, chip, fill, h, table, when } from "./dom.js";
import { trouble } from "./frame.js";
import { gpuTime, number, span } from "./units.js";
import { language, t, word } from "./words.js";

const SHOWN_MAX = 100;
const LIVE = ["pending", "starting", "running", "stopping"];
const TONES = { succeeded: "good", failed: "bad", rejected: "bad", running: "busy", starting: "busy", stopping: "busy" };

export async function jobs({ main, who, signal }) {
  const known = new Map();
  const list = h("div", {});
  const tiles = h("ul", { class: "tiles" });
  const filter = h("select", { on: { change: () => load() } },
    ["", "pending", "running", "succeeded", "failed", "cancelled", "rejected"].map((state) =>
      h("option", { value: state }, state ? word("state", state) : t("all states"))));
  let more = null;
  let waiting = false;

  async function load(cursor = "") {
    const query = new URLSearchParams({ limit: String(SHOWN_MAX) });
    if (filter.value) query.set("state", filter.value);
    if (cursor) query.set("cursor", cursor);
    else known.clear();
    const page = await ask("GET", `/v1/jobs?${query}`);
    more = page.next_cursor;
    for (const one of page.items) known.set(one.id, one);
    show();
  }

  function show() {
    waiting = false;
    const all = [...known.values()].sort((a, b) => Date.parse(b.submitted_at) - Date.parse(a.submitted_at));
    const kept = document.activeElement?.getAttribute("href");
    if (!all.length) fill(list, empty(filter.value));
    else {
      fill(list, table(t("Jobs, newest first"), heads(who), all.map((one) => row(one, who))),
        more && button(t("Show more"), () => load(more)));
      if (kept) list.querySelector(`a[href="${CSS.escape(kept)}"]`)?.focus();
    }
  }

  async function capacity() {
    try {
      fillTiles(tiles, (await ask("GET", "/v1/sites")).items, [...known.values()]);
    } catch (problem) {
      if (problem.status !== 403) throw problem;
    }
  }

  fill(main,
    h("div", { class: "title" }, h("h1", {}, t("Jobs")), h("label", { class: "inline" }, t("Show"), " ", filter), h("a", { class: "button", href: "#run" }, t("Run a job"))),
    tiles, card("", list));
  await load();
  await capacity();
  whileSeen(signal, (until) => events(() => "/v1/events", (name, one) => {
    if (name !== "job" || (filter.value && one.state !== filter.value && !known.has(one.id))) return false;
    known.set(one.id, one);
    if (!waiting) {
      waiting = true;
      requestAnimationFrame(() => { if (!until.aborted) { show(); capacity().catch(() => {}); } });
    }
    return false;
  }, until), () => load(), (problem) => fill(main, trouble(problem)));
}

/** Run `watch(signal)` while the page is seen: a hidden one holds no connection. `again`: before it starts anew. */
export function whileSeen(signal, watch, again, failed) {
  let until = null;
  const begin = () => {
    until = new AbortController();
    watch(until.signal).catch((problem) => { if (!until.signal.aborted) failed(problem); });
  };
  const turn = () => {
    if (document.hidden) until.abort();
    else if (until.signal.aborted && !signal.aborted) {
      begin();
      again();
    }
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

export function shapeText({ resources, num_nodes: nodes }) {
  const each = resources.gpus ? `${number(resources.gpus)} GPU${resources.gpus > 1 ? "s" : ""}` : `${number(resources.cpus, 2)} CPU`;
  return nodes > 1 ? `${nodes} × ${each}` : each;
}

function heads(who) {
  return [t("Job"), t("State"), t("Reason"), ...(mixed(who) ? [t("Project")] : []), t("Asked for"), t("Submitted"), t("Used")];
}

function row(job, who) {
  return [
    [h("a", { href: `#job/${encodeURIComponent(job.id)}` }, job.id), job.name && h("span", { class: "name" }, job.name)],
    stateChip(job),
    reasonText(job) || "–",
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

function fillTiles(tiles, sites, known) {
  const total = sites.reduce((sum, site) => sum + site.gpus, 0);
  const free = sites.reduce((sum, site) => sum + site.gpus_free, 0);
  const live = known.filter((one) => LIVE.includes(one.state));
  const waiting = live.filter((one) => one.state === "pending").length;
  const tile = (value, unit, text) => h("li", {}, h("b", {}, value, unit && h("small", {}, ` ${unit}`)), h("span", {}, text));
  fill(tiles,
    tile(number(free), t("of {n} GPUs", { n: number(total) }), sites.some((site) => site.logical) ? t("free (logical: counted, not there)") : t("free")),
    tile(number(live.length - waiting), "", t("jobs hold capacity")),
    tile(number(waiting), "", t("jobs wait")));
}
