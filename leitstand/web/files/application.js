// SPDX-License-Identifier: Apache-2.0
// How far an application is, for who holds its claim: the checks as tasks, the reason of a refusal, the first sign-in.

import { ask, at } from "./api.js";
import { forgetClaim, keepClaim, keptClaim } from "./claim.js";
import { announce, button, card, chip, facts, fill, h, sure, when } from "./dom.js";
import { Field, Form } from "./form.js";
import { open, secretBox, trouble } from "./frame.js";
import { t, word } from "./words.js";

const LOOK_MS = 3000;
export const TONES = { open: "busy", approved: "good", refused: "bad", withdrawn: "calm", passed: "good", failed: "bad" };

await open(t("Your application"), async (main) => {
  if (keptClaim()) await follow(main);
  else askForClaim(main);
});

function askForClaim(main) {
  const claim = new Field({ pointer: "/claim", label: t("Claim"), kind: "password", autocomplete: "off", spellcheck: "false", hint: t("It begins with lsa_. You were given it when you applied.") });
  const form = new Form({
    children: [claim.element], fields: () => [claim], submit: t("Show my application"),
    send: async () => {
      await read(claim.value.trim());
      keepClaim(claim.value.trim());
      await follow(main);
    },
  });
  fill(main, h("div", { class: "title" }, h("h1", {}, t("Your application"))), card("", form.element));
}

/** The one application that the claim is for. */
async function read(claim) {
  const { items } = await ask("GET", "/v1/applications", undefined, { claim });
  if (!items.length) throw new Error(t("No application has this claim."));
  return ask("GET", at("applications", items[0].id), undefined, { claim });
}

async function follow(main) {
  const claim = keptClaim();
  let now = null;
  let look = 0;
  const refresh = async () => {
    const found = await read(claim);
    if (now && JSON.stringify(found) === JSON.stringify(now)) return;
    if (now && found.state !== now.state) announce(word("application", found.state));
    now = found;
    fill(main, ...shown(now, claim, withdraw, again));
    if (now.state !== "open") clearInterval(look);
  };
  const again = () => {
    forgetClaim();
    location.reload();
  };
  const withdraw = async () => {
    if (!await sure(t("Withdraw the application? What you entered is erased."), t("Withdraw it"), t("Keep it"))) return;
    await ask("POST", `${at("applications", now.id)}/withdraw`, undefined, { claim });
    await refresh();
  };
  try {
    await refresh();
  } catch (problem) {
    if (problem.status === 401) {
      forgetClaim();
      askForClaim(main);
      return;
    }
    throw problem;
  }
  if (now.state === "open") look = setInterval(() => { if (!document.hidden) refresh().catch(() => {}); }, LOOK_MS);
}

function shown(now, claim, withdraw, again) {
  return [
    h("div", { class: "title" }, h("h1", {}, t("Application for {tenant}", { tenant: now.tenant })), chip(TONES[now.state], word("application", now.state))),
    now.state === "open" && h("div", { class: "note card" }, h("p", {}, h("b", {}, t("Save this claim now.")), " ", t("It is shown this once, is kept in this browser tab alone, and is the only way back to your application.")), secretBox(t("Claim"), claim)),
    outcome(now, claim),
    card(t("Checks"), h("ul", { class: "tasks" }, now.checks.map(task))),
    card(t("What you said"), facts([
      [t("Class"), word("class", now.class)],
      now.legal && [t("Organisation"), now.legal.name],
      now.applicant && [t("Applicant"), `${now.applicant.name}, ${now.applicant.email}`],
      [t("Filed"), when(now.filed_at)],
      [t("Contract accepted"), now.agreement],
    ])),
    h("div", { class: "buttons" }, now.state === "open" && button(t("Withdraw"), () => withdraw().catch((problem) => announce(problem.message)), "plain"),
      button(t("Another application"), again, "plain")),
  ];
}

/** One check as a task with its owner. */
export function task(check) {
  return h("li", { class: check.outcome },
    h("span", { class: "what" }, word("check", check.name)),
    h("span", { class: "quiet" }, t("by {owner}", { owner: word("role", check.owner) })),
    chip(TONES[check.outcome] === "busy" ? "calm" : TONES[check.outcome], word("outcome", check.outcome)),
    check.at && h("span", { class: "quiet" }, when(check.at)));
}

function outcome(now, claim) {
  if (now.state === "refused") {
    return card(t("Why it was refused"), h("p", {}, word("refusal", now.reason)), now.note && h("blockquote", {}, now.note), h("p", {}, h("a", { href: "/register" }, t("Apply anew"))));
  }
  if (now.state === "approved") {
    const told = h("div", { role: "alert" });
    const enter = button(t("Sign in to {tenant}", { tenant: now.tenant }), async () => {
      try {
        await ask("POST", `${at("applications", now.id)}/token`, { kind: "session" }, { claim });
        forgetClaim();
        location.assign("/#run");
      } catch (problem) {
        fill(told, trouble(problem));
      }
    });
    return card(t("Your tenant is ready"),
      h("p", {}, t("Sign in as its first administrator. Tokens for the command line are under Account.")), h("div", { class: "buttons" }, enter), told);
  }
  return h("p", { class: "intro", "aria-live": "polite" }, next(now));
}

/** What happens next, with checks by their names. */
function next(now) {
  if (now.state === "withdrawn") return t("It was withdrawn. A new application can be filed.");
  const named = (outcome) => now.checks.filter((check) => check.outcome === outcome).map((check) => word("check", check.name)).join(", ");
  if (named("failed")) return t("Not passed: {checks}. A reviewer looks again, or an operator refuses it.", { checks: named("failed") });
  if (named("open")) return t("Still to be checked: {checks}. There is nothing for you to do.", { checks: named("open") });
  return t("All checks have passed. An operator decides next.");
}
