// SPDX-License-Identifier: Apache-2.0
// Sign-in with a token or with the identity provider. Used by every page that needs to know who one is.

import { ask } from "./api.js";
import { card, h } from "./dom.js";
import { Field, Form } from "./form.js";
import { t, word } from "./words.js";

/** The card to sign in with; then the page begins anew. */
export async function signIn() {
  const { methods, provider } = await ask("GET", "/v1/signin");
  const token = new Field({
    pointer: "/token", label: t("Token"), kind: "password", autocomplete: "current-password", spellcheck: "false",
    hint: t("It begins with lst_; the administrator's lies in the data folder, in admin.token."),
  });
  const form = new Form({
    children: [token.element], fields: () => [token], submit: t("Sign in"),
    send: async () => {
      await ask("POST", "/v1/signin", { token: token.value.trim() });
      location.reload();
    },
  });
  const back = location.pathname + location.search;
  const sso = methods.includes("oidc") && h("div", { class: "sso" },
    h("a", { class: "button", href: `/v1/signin/oidc?return=${encodeURIComponent(back)}` }, t("Sign in with {provider}", { provider })),
    h("p", { class: "or" }, h("span", {}, t("or with a token"))));
  const failed = new URLSearchParams(location.search).get("signin");
  return card(t("Sign in"), failed && h("div", { class: "faults", role: "alert" }, word("signin", failed)), sso, form.element);
}

/** The first page of a stranger. */
export async function welcome(main) {
  main.classList.add("welcome");
  main.append(
    h("div", { class: "lead" },
      h("h1", {}, t("One pool of GPUs, shared by industry, start-ups, research and the public sector")),
      h("p", {}, t("Leitstand runs your training, simulation and inference, says why a job waits, and what it used.")),
      h("ul", { class: "ways" },
        h("li", {}, h("a", { href: "/register" }, t("Apply for access")), h("span", {}, t("for your organisation; a first budget comes with it"))),
        h("li", {}, h("a", { href: "/application" }, t("See your application")), h("span", {}, t("with the claim that you were given"))),
        h("li", {}, h("a", { href: "/join" }, t("Accept an invitation")), h("span", {}, t("with the code that you were sent"))))),
    await signIn());
}
