// SPDX-License-Identifier: Apache-2.0
// Who one is: person, roles, tokens; and, for administrators of a tenant, invitations.

import { allIfAllowed, ask, at } from "./api.js";
import { button, card, facts, fill, h, sure, table, when } from "./dom.js";
import { Field, Form } from "./form.js";
import { nameOf, roleText, secretBox } from "./frame.js";
import { exact } from "./units.js";
import { t, word } from "./words.js";

const ROLES = ["member", "viewer", "tenant_admin", "auditor"];

export async function account({ main, who }) {
  const mine = [...new Set(who.roles.filter((one) => one.role === "tenant_admin").map((one) => one.tenant))];
  const tokens = h("div", {});
  await fillTokens(tokens, who);
  fill(main, h("div", { class: "title" }, h("h1", {}, t("Account"))),
    card(t("You"), facts([
      [t("Name"), nameOf(who.user)],
      who.user.email && [t("E-mail"), who.user.email],
      [t("Roles"), h("ul", { class: "bare" }, who.roles.length ? who.roles.map((one) => h("li", {}, roleText(one), one.origin === "sso" && h("span", { class: "quiet" }, ` (${t("from your identity provider")})`))) : h("li", {}, t("none")))],
      who.token.expires_at && [t("Session until"), exact(who.token.expires_at)],
    ])),
    card(t("Tokens"), tokens),
    mine.length ? card(t("Invite somebody"), ...inviting(mine)) : null);
}

async function fillTokens(place, who) {
  const found = (await allIfAllowed(at("users", "me", "tokens"))).filter((one) => one.kind === "api");
  const life = new Field({ pointer: "/expires_in", label: t("New token, valid for"), value: "30d", hint: t("for the command line or a program; like 12h, 30d") });
  const shown = h("div", { "aria-live": "polite" });
  const form = new Form({
    children: [life.element], fields: () => [life], submit: t("Issue a token"), kind: "line",
    send: async () => {
      const { secret, token } = await ask("POST", at("users", "me", "tokens"), { expires_in: life.value });
      await fillTokens(place, who);
      place.prepend(h("div", { class: "note", role: "status" }, h("p", {}, t("Token {id}. Save it now: it is shown this once.", { id: token.id })), secretBox(t("Token"), secret)));
    },
  });
  const revoke = async (id) => {
    if (!await sure(t("Revoke token {id}? What uses it stops working.", { id }), t("Revoke"), t("Keep it"))) return;
    try {
      await ask("DELETE", at("tokens", id));
      await fillTokens(place, who);
    } catch (problem) {
      form.show(problem);
    }
  };
  fill(place,
    found.length ? table(t("Your tokens"), [t("Token"), t("May"), t("Valid until"), t("Change")], found.map((one) => [
      one.id, one.scopes.length ? one.scopes.map((scope) => word("scope", scope)).join(", ") : t("all that you may"), when(one.expires_at, true),
      one.id === who.token.id ? t("in use here") : button(t("Revoke"), () => revoke(one.id), "plain")])) : h("p", { class: "quiet" }, t("You have none for programs.")),
    shown, form.element);
}

function inviting(tenants) {
  const tenant = new Field({ pointer: "/tenant", label: t("Tenant"), kind: "select", options: tenants.map((one) => [one, one]), value: tenants[0] });
  const role = new Field({ pointer: "/role", label: t("Role"), kind: "select", options: ROLES.map((one) => [one, word("role", one)]), value: "member" });
  const project = new Field({ pointer: "/project", label: t("Project"), optional: true, hint: t("left out: the whole tenant") });
  const email = new Field({ pointer: "/email", label: t("E-mail"), kind: "email", optional: true });
  const shown = h("div", { role: "status" });
  const fields = [tenant, role, project, email];
  const form = new Form({
    children: [h("div", { class: "row" }, tenants.length > 1 ? tenant.element : [], role.element, project.element, email.element)],
    fields: () => fields, submit: t("Invite"),
    send: async () => {
      const body = { tenant: tenant.value, role: role.value };
      if (project.value) body.project = project.value;
      if (email.value) body.email = email.value;
      const made = await ask("POST", "/v1/invitations", body);
      fill(shown, h("div", { class: "note" }, h("p", {}, t("Give this code to whom it is for; it is shown this once. It is accepted at {url}.", { url: `${location.origin}/join` })), secretBox(t("Invitation code"), made.code)));
    },
  });
  return [shown, form.element];
}
