// SPDX-License-Identifier: Apache-2.0
// Accept an invitation: as who is signed in, or with a new account, whose first token is shown once.

import { ask } from "./api.js";
import { card, fill, h } from "./dom.js";
import { Field, Form } from "./form.js";
import { nameOf, open, roleText, secretBox } from "./frame.js";
import { t } from "./words.js";

await open(t("Accept an invitation"), async (main, who) => {
  const code = new Field({ pointer: "/code", label: t("Invitation code"), autocomplete: "off", spellcheck: "false", hint: t("It begins with lsi_.") });
  const name = new Field({ pointer: "/name", label: t("Your name"), autocomplete: "name" });
  const email = new Field({ pointer: "/email", label: t("Your e-mail address"), kind: "email", autocomplete: "email", optional: true, hint: t("left out: the address that was invited") });
  const fields = who ? [code] : [code, name, email];
  const form = new Form({
    children: fields.map((field) => field.element), fields: () => fields, submit: t("Accept"),
    send: async () => {
      const body = { code: code.value };
      if (!who) Object.assign(body, { name: name.value, email: email.value });
      const accepted = await ask("POST", "/v1/invitations/accept", body);
      if (accepted.secret) await ask("POST", "/v1/signin", { token: accepted.secret });
      done(main, accepted);
    },
  });
  fill(main, h("div", { class: "title" }, h("h1", {}, t("Accept an invitation"))),
    card("", h("p", {}, who ? t("You are signed in as {name}; the role is added to your account.", { name: nameOf(who.user) })
      : t("You get an account of your own. If you have one, sign in first.")), form.element));
});

function done(main, accepted) {
  fill(main, h("div", { class: "title" }, h("h1", {}, t("Welcome"))), card("",
    h("p", { role: "status" }, t("You are now {role}.", { role: roleText(accepted) })),
    accepted.secret && h("div", { class: "note" }, h("p", {}, t("This is your token, for sign-in and for the command line. Save it now: it is shown this once.")), secretBox(t("Token"), accepted.secret)),
    h("p", {}, h("a", { class: "button", href: "/#run" }, t("Run a job")))));
}
