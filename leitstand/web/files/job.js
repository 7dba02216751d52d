// SPDX-License-Identifier: Apache-2.0
// One job: its state and reason, its runs, what it used, and its log as it grows.

import { ask, at, events } from "./api.js";
import { announce, button, card, facts, fill, h, sure, table, when } from "./dom.js";
import { nameOf, trouble } from "./frame.js";
import { reasonText, shapeText, startText, stateChip, whileSeen } from "./jobs.js";
import { coreTime, exact, gpuTime, span } from "./units.js";
import { t, word } from "./words.js";

const SHOWN_MAX = 1_000_000; // characters of a log on the page; the file has all
const ENDED = ["succeeded", "failed", "cancelled", "rejected"];

export async function job({ main, signal, rest: id }) {
  let now = await ask("GET", at("jobs", id), undefined, { signal });
  const top = h("div", { class: "stack" });
  const log = new Log(now.num_nodes > 1);
  const show = () => fill(top, head(now, cancel), card("", details(now)), now.runs.length > 1 && card(t("Runs"), runs(now)));

  async function refresh() {
    const before = now.state;
    now = await ask("GET", at("jobs", id), undefined, { signal });
    show();
    if (now.state !== before) announce(`${now.id}: ${word("state", now.state)}`);
  }

  async function cancel() {
    if (!await sure(t("Cancel job {id}?", { id }), t("Cancel the job"), t("Let it go on"))) return;
    now = await ask("POST", `${at("jobs", id)}/cancel`);
    show();
  }

  show();
  fill(main, top, log.element(id));
  const look = setInterval(() => { if (!document.hidden && !ENDED.includes(now.state)) refresh().catch(() => {}); }, 1000);
  signal.addEventListener("abort", () => clearInterval(look));
  whileSeen(signal, (until) => events(() => {
    log.clear();
    return `${at("jobs", id)}/logs?follow=true`;
  }, (name, data) => {
    if (name === "log") log.add(data);
    if (name !== "end") return false;
    clearInterval(look);
    log.end();
    refresh().catch(() => {});
    return true;
  }, until, () => refresh().catch(() => {})), (problem) => fill(main, trouble(problem)));
}

function head(now, cancel) {
  return h("div", { class: "title" },
    h("p", { class: "crumb" }, h("a", { href: "#jobs" }, t("Jobs"))),
    h("h1", {}, now.id, now.name && h("span", { class: "name" }, now.name)),
    stateChip(now),
    !ENDED.includes(now.state) && now.state !== "stopping" && button(t("Cancel"), cancel, "danger"));
}

function details(now) {
  const { usage } = now;
  const start = startText(now);
  return facts([
    reasonText(now) && [t("Reason"), reasonText(now)],
    [t("Tenant and project"), `${now.tenant} / ${now.project}`],
    [t("Submitted by"), nameOf(now.user)],
    [t("Submitted"), when(now.submitted_at)],
    start && [t("Forecast"), start],
    now.started_at && [t("Started"), when(now.started_at)],
    now.ended_at && [t("Ended"), when(now.ended_at)],
    now.exit_code !== null && [t("Exit code"), String(now.exit_code)],
    [t("Asked for"), shapeText(now)],
    [t("At most"), span(now.max_duration_s)],
    now.runs.length && [t("Where"), now.runs.at(-1).tasks.map((task) => `${task.node}${task.gpus.length ? ` (GPU ${task.gpus.join(", ")})` : ""}`).join("; ")],
    [t("Used"), usage.wall_s ? `${span(usage.wall_s)}, ${gpuTime(usage.gpu_s)}, ${coreTime(usage.cpu_s)}` : t("nothing yet")],
  ]);
}

function runs(now) {
  return table(t("Runs of this job"), [t("Run"), t("State"), t("Started"), t("Ended"), t("Outcome")], now.runs.map((run) =>
    [run.id, word("state", run.state), run.started_at ? exact(run.started_at) : "–", run.ended_at ? exact(run.ended_at) : "–",
      run.outcome ? `${word("outcome", run.outcome)}${run.exit_code === null ? "" : ` (${run.exit_code})`}` : "–"]));
}

/** The log on the page: lines of several tasks say whose they are; it scrolls along unless somebody reads above. */
class Log {
  constructor(several) {
    this.several = several;
    this.starts = new Map(); // of a task: whether its next text begins a line
    this.text = h("pre", { tabindex: "0", role: "log", "aria-label": t("Log"), "aria-live": "off" });
    this.state = h("span", { class: "quiet" }, t("live"));
    this.length = 0;
  }

  element(id) {
    const file = h("a", { href: `${at("jobs", id)}/logs`, target: "_blank", rel: "noopener" }, t("as a file"));
    return h("section", { class: "card log" }, h("div", { class: "bar" }, h("h2", {}, t("Log")), this.state, file), this.text);
  }

  add({ task, text }) {
    const box = this.text;
    const along = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
    const shown = this.several ? this.named(task, text) : text;
    box.append(document.createTextNode(shown));
    this.length += shown.length;
    while (this.length > SHOWN_MAX && box.childNodes.length > 1) {
      this.length -= box.firstChild.length;
      box.firstChild.remove();
    }
    if (along) box.scrollTop = box.scrollHeight;
  }

  named(task, text) {
    const begins = this.starts.get(task) ?? true;
    this.starts.set(task, text.endsWith("\n"));
    const lines = text.replace(/\n(?=.)/gs, `\n[${task}] `);
    return begins ? `[${task}] ${lines}` : lines;
  }

  clear() {
    fill(this.text);
    this.starts.clear();
    this.length = 0;
  }

  end() {
    this.state.textContent = this.length ? t("ended") : t("ended; it printed nothing");
  }
}
