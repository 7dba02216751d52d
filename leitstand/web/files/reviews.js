// SPDX-License-Identifier: Apache-2.0
// Applications for who examines them: the list, and one of them with its checks, to approve or to refuse.

import { ask, at } from "./api.js";
import { announce, button, card, chip, facts, fill, h, sure, table, when } from "./dom.js";
import { Field, Form } from "./form.js";
import { has, nameOf, open, trouble } from "./frame.js";
import { number } from "./units.js";
import { signIn } from "./signin.js";
import { fault, t, word } from "./words.js";

const STATES = ["open", "approved", "refused", "withdrawn"];
const TONES = { open: "busy", approved: "good", refused: "bad", withdrawn: "calm", passed: "good", failed: "bad" };
const DOUBTED = { "/size_class": t("Size class"), "/vat_id": t("VAT id"), "/leitweg_id": t("Leitweg-ID") };
const REFUSALS = ["identity", "sanctions", "export_control", "size_class", "capacity", "purpose", "incomplete", "other"];

await open(t("Applications"), async (main, who) => {
  if (!who) {
    fill(main, await signIn());
    return;
  }
  const show = async () => {
    try {
      const id = decodeURIComponent(location.hash.slice(1));
      await (id ? one(main, id, who) : list(main));
    } catch (problem) {
      fill(main, trouble(problem));
    }
  };
  window.addEventListener("hashchange", () => show().then(() => main.focus({ preventScroll: true })));
  await show();
});

async function list(main) {
  const place = h("div", {});
  const filter = h("select", { on: { change: () => load().catch((problem) => fill(place, trouble(problem))) } },
    h("option", { value: "" }, t("all states")), STATES.map((state) => h("option", { value: state, selected: state === "open" }, word("application", state))));
  async function load(cursor = "", before = []) {
    const query = new URLSearchParams({ limit: "50" });
    if (filter.value) query.set("state", filter.value);
    if (cursor) query.set("cursor", cursor);
    const page = await ask("GET", `/v1/applications?${query}`);
    const found = [...before, ...page.items];
    fill(place, found.length ? table(t("Applications, newest first"), [t("Application"), t("Tenant"), t("Organisation"), t("Class"), t("State"), t("Checks passed"), t("Filed")],
      found.map((each) => [h("a", { href: `#${encodeURIComponent(each.id)}` }, each.id), each.tenant, each.legal?.name ?? t("erased"), word("class", each.class),
        chip(TONES[each.state], word("application", each.state)), t("{n} of {m}", { n: passed(each), m: each.checks.length }), when(each.filed_at)]))
      : h("p", { class: "quiet" }, t("There is none in this state.")),
    page.next_cursor && button(t("Show more"), () => load(page.next_cursor, found)));
  }
  fill(main, h("div", { class: "title" }, h("h1", {}, t("Applications")), h("label", { class: "inline" }, t("Show"), " ", filter)), card("", place));
  await load();
}

async function one(main, id, who) {
  const path = at("applications", id);
  const told = h("div", { role: "alert" });
  const act = async (place, body) => {
    try {
      show(await ask("POST", `${path}${place}`, body));
      announce(t("Done."));
    } catch (problem) {
      fill(told, h("div", { class: "faults" }, fault(problem.message)));
      told.scrollIntoView({ block: "nearest" });
    }
  };
  const show = (now) => {
    const decides = now.state === "open" && has(who, "operator");
    fill(told);
    fill(main,
      h("div", { class: "title" }, h("p", { class: "crumb" }, h("a", { href: "#" }, t("Applications"))),
        h("h1", {}, now.id, h("span", { class: "name" }, now.tenant)), chip(TONES[now.state], word("application", now.state))),
      told,
      now.state === "refused" && card(t("Why it was refused"), h("p", {}, word("refusal", now.reason)), now.note && h("blockquote", {}, now.note)),
      now.doubts.length ? h("div", { class: "card note" }, h("h2", {}, t("To look at")), h("ul", {}, now.doubts.map((doubt) => h("li", {}, h("b", {}, DOUBTED[doubt.where] ?? doubt.where), " ", fault(doubt.what))))) : null,
      h("div", { class: "split even" }, card(t("Organisation"), identity(now)), card(t("Checks"), h("ul", { class: "checks" }, now.checks.map((check) => checkItem(check, now, who, act))))),
      decides && card(t("Decision"), h("div", { class: "buttons" }, button(t("Approve"), async () => {
        if (await sure(t("Approve {id}? Tenant {tenant} is made, with its first budget.", { id: now.id, tenant: now.tenant }), t("Approve"), t("Not yet"), "")) await act("/approve");
      })), refusing(act)));
  };
  show(await ask("GET", path));
}

function identity(now) {
  const { legal, applicant } = now;
  return [
    facts([
      legal ? [t("Legal name"), legal.name] : [t("Legal name"), t("erased")],
      [t("Class"), word("class", now.class)],
      legal && [t("Address"), `${legal.street}, ${legal.postcode} ${legal.city}, ${legal.country}`],
      legal?.vat_id && [t("VAT id"), legal.vat_id],
      legal?.leitweg_id && [t("Leitweg-ID"), legal.leitweg_id],
      legal && [t("Size class"), `${word("size", legal.size_class)}${figures(legal)}`],
      ...(legal?.linked_enterprises ?? []).map((each) => [word("relation", each.relation), `${each.name}${each.share_percent ? ` (${each.share_percent} %)` : ""}${figures(each)}`]),
      ...(legal?.contacts ?? []).map((each) => [t("Contact for {what}", { what: word("contact", each.role) }), [each.name, each.email, each.phone].filter(Boolean).join(", ")]),
      applicant && [t("Applicant"), `${applicant.name}, ${applicant.email}`],
      [t("Contract accepted"), now.agreement],
      [t("Filed"), when(now.filed_at)],
      now.decided_at && [t("Decided"), when(now.decided_at)],
      now.by && [t("Decided by"), nameOf(now.by)],
    ]),
    now.purpose && h("blockquote", {}, now.purpose),
  ];
}

function figures({ headcount, turnover_eur: turnover, balance_eur: balance }) {
  const parts = [
    headcount !== undefined && headcount !== null && t("{n} heads", { n: number(headcount) }),
    turnover !== undefined && turnover !== null && t("turnover {n} EUR", { n: number(turnover) }),
    balance !== undefined && balance !== null && t("balance {n} EUR", { n: number(balance) }),
  ].filter(Boolean);
  return parts.length ? `: ${parts.join(", ")}` : "";
}

function checkItem(check, now, who, act) {
  const mine = now.state === "open" && check.owner !== "applicant" && has(who, "operator", check.owner);
  const note = mine && new Field({ pointer: "/note", label: t("Note for other reviewers"), optional: true, value: check.note });
  const record = (outcome) => () => act(`/checks/${encodeURIComponent(check.name)}`, { outcome, note: note.value });
  const name = word("check", check.name);
  const recording = mine && h("div", { class: "stack" }, note.element, h("div", { class: "buttons" },
    h("button", { type: "button", class: "second", "aria-label": t("{check}: passed", { check: name }), on: { click: record("passed") } }, t("Passed")),
    h("button", { type: "button", class: "plain", "aria-label": t("{check}: failed", { check: name }), on: { click: record("failed") } }, t("Failed"))));
  return h("li", { "data-check": check.name },
    h("div", { class: "bar" }, h("b", {}, name), h("span", { class: "quiet" }, t("by {owner}", { owner: word("role", check.owner) })), chip(check.outcome === "open" ? "calm" : TONES[check.outcome], word("outcome", check.outcome))),
    check.at && h("p", { class: "quiet" }, check.by && `${nameOf(check.by)}, `, when(check.at)),
    (!mine || check.outcome !== "open") && check.note && h("blockquote", {}, check.note),
    mine && (check.outcome === "open" ? recording : h("details", {}, h("summary", {}, t("Change")), recording)));
}

function refusing(act) {
  const reason = new Field({ pointer: "/reason", label: t("Reason"), kind: "select", options: REFUSALS.map((code) => [code, word("refusal", code)]), value: "identity" });
  const note = new Field({ pointer: "/note", label: t("Note to the applicant"), kind: "textarea", rows: 2, optional: true });
  const form = new Form({
    children: [reason.element, note.element], fields: () => [reason, note], submit: t("Refuse"), kind: "refuse",
    send: async () => {
      if (await sure(t("Refuse it? The applicant reads reason and note."), t("Refuse"), t("Not yet"))) await act("/refuse", { reason: reason.value, note: note.value });
    },
  });
  return h("details", {}, h("summary", {}, t("Refuse with a reason")), form.element);
}

function passed(application) {
  return application.checks.filter((check) => check.outcome === "passed").length;
}
