// SPDX-License-Identifier: Apache-2.0
// Confirm that a command line may sign in as oneself: the code first, then who asks and what that would allow.

import { ask, at } from "./api.js";
import { button, card, facts, fill, h, when } from "./dom.js";
import { Field, Form } from "./form.js";
import { nameOf, open, roleText } from "./frame.js";
import { signIn } from "./signin.js";
import { span } from "./units.js";
import { t, word } from "./words.js";

await open(t("Confirm a sign-in"), async (main, who) => {
  const title = h("div", { class: "title" }, h("h1", {}, t("Confirm a sign-in")));
  if (!who) {
    fill(main, title, h("p", { class: "intro" }, t("Sign in first; then you can let the command line in.")), await signIn());
    return;
  }
  const given = new URLSearchParams(location.search).get("code") ?? "";
  const code = new Field({
    pointer: "/user_code", label: t("Code that the command line shows"), value: given,
    autocomplete: "off", spellcheck: "false", autocapitalize: "characters", class: "code", hint: t("like ABCD-EFGH"),
  });
  const place = h("div", { "aria-live": "polite" });
  const look = async () => fill(place, shown(await ask("GET", at("login", code.value.toUpperCase())), who, place));
  const form = new Form({ children: [code.element], fields: () => [code], submit: t("Go on"), kind: "line", send: look });
  fill(place, card("", form.element));
  fill(main, title, place);
  if (given) await look().catch((problem) => form.show(problem));
});

/** Who asks and what it would get, to allow or not. */
function shown(login, who, place) {
  const told = h("div", { role: "alert" });
  const decide = (allow) => async () => {
    try {
      await ask("POST", "/v1/login/confirm", { user_code: login.user_code, allow });
      fill(place, card("", h("p", {}, allow ? t("The command line is signed in. You can close this page.") : t("It was not let in."))));
    } catch (problem) {
      fill(told, h("div", { class: "faults" }, problem.message));
    }
  };
  const roles = who.roles.filter((one) => !login.tenant || one.tenant === login.tenant);
  return card(t("Let this command line in?"),
    h("p", {}, t("It would act as {name}. Let it in only if you began this yourself and the codes are the same.", { name: nameOf(who.user) })),
    facts([
      [t("Code"), h("b", { class: "code" }, login.user_code)],
      [t("Who asks"), login.client || t("a command line that does not say its name")],
      login.source && [t("From"), login.source],
      [t("Asked"), when(login.requested_at, true)],
      [t("It could"), login.scopes.length ? login.scopes.map((scope) => word("scope", scope)).join(", ") : t("all that you may")],
      [t("As"), h("ul", { class: "bare" }, roles.map((one) => h("li", {}, roleText(one))))],
      [t("For"), span(login.expires_in_s)],
    ]),
    told, h("div", { class: "buttons" }, button(t("Let it in"), decide(true)), button(t("Do not"), decide(false), "plain")));
}
