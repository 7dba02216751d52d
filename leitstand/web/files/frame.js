// SPDX-License-Identifier: Apache-2.0
// What every page has around it: head with navigation, language and sign-out, the main part, and errors in words.

import { ask } from "./api.js";
import { now, twin } from "./clock.js";
import { button, fill, h } from "./dom.js";
import { exact, keepTimes } from "./units.js";
import { fault, language, speak, t, word } from "./words.js";

const SHOW_MS = 500;
const HEAR_MS = 2000;
const SLOW = 0.95; // of the speed that was asked for: less is said

/** Open the page: `build(main, who)` fills it; `who`: the answer of /v1/self, null for a stranger. */
export async function open(title, build) {
  const main = h("main", { id: "main", tabindex: "-1" });
  document.title = title === "Leitstand" ? title : `${title} · Leitstand`;
  let who = null;
  window.addEventListener("unhandledrejection", (event) => {
    event.preventDefault(); // whatever somebody pressed: they are told that it did not work
    main.querySelector(":scope > .trouble")?.remove();
    main.prepend(trouble(event.reason));
    main.focus();
  });
  try {
    who = await self();
    document.body.append(skip(), head(who), ...banner(), main, foot());
    await build(main, who);
  } catch (problem) {
    if (!main.isConnected) document.body.append(skip(), head(who), ...banner(), main, foot());
    fill(main, trouble(problem));
  }
  keepTimes();
}

/** Who is signed in, null if nobody is. */
export async function self() {
  try {
    return await ask("GET", "/v1/self");
  } catch (problem) {
    if (![401, 429].includes(problem.status)) throw problem;
    // A session that is over leaves a cookie; shown again and again it would count as guesses, so it goes.
    await ask("POST", "/v1/signout").catch(() => {});
    return null;
  }
}

/** A box that says what went wrong. */
export function trouble(problem) {
  const away = problem.status === 401;
  return h("div", { class: "card trouble", role: "alert" },
    h("h2", {}, away ? t("Your session is over") : t("That did not work")),
    h("p", {}, away ? t("Sign in again to go on.") : fault(problem.message || String(problem))),
    h("p", {}, h("a", { href: "/" }, away ? t("Sign in") : t("Back to the start"))));
}

/** What a role reads like: "member of project default in acme". */
export function roleText({ role, tenant, project }) {
  const name = word("role", role);
  if (!tenant) return t("{role} of the platform", { role: name });
  return project ? t("{role} in project {project} of {tenant}", { role: name, project, tenant })
    : t("{role} of {tenant}", { role: name, tenant });
}

/** What a person is called; an erased one has an id alone. */
export function nameOf({ id, name }) {
  return id === "admin" ? word("role", "built-in") : name || id;
}

export function has(who, ...roles) {
  return who.roles.some((one) => roles.includes(one.role) && !one.tenant);
}

/** Show a secret once, with a button that copies it. */
export function secretBox(label, secret) {
  const field = h("input", { type: "text", readonly: true, value: secret, class: "code", "aria-label": label, on: { focus: () => field.select() } });
  const copy = button(t("Copy"), async () => {
    field.select();
    try {
      await navigator.clipboard.writeText(secret);
      copy.textContent = t("Copied");
    } catch {
      copy.textContent = t("Press Ctrl+C");
    }
  });
  return h("div", { class: "secret" }, field, copy);
}

function skip() {
  return h("a", { href: "#main", class: "skip", on: { click: (event) => { event.preventDefault(); document.getElementById("main").focus(); } } }, t("To the content"));
}

function head(who) {
  const links = who ? [["/#jobs", t("Jobs")], ["/#run", t("Run a job")], ["/#usage", t("Usage")], ["/#account", t("Account")]] : [];
  if (who && has(who, "operator", "reviewer", "auditor")) links.push(["/applications", t("Applications")]);
  if (!who) links.push(["/", t("Sign in")], ["/register", t("Apply")], ["/application", t("Your application")]);
  const nav = h("nav", { "aria-label": t("Main") }, links.map(([href, text]) => h("a", { href }, text)));
  const mark = () => {
    const here = location.pathname + (location.pathname === "/" && who ? location.hash.split("/")[0] || "#jobs" : "");
    for (const link of nav.children) {
      const same = link.getAttribute("href") === here.replace("#job", here.endsWith("#job") ? "#jobs" : "#job");
      if (same) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  };
  mark();
  window.addEventListener("hashchange", mark);
  return h("header", {},
    h("a", { href: "/", class: "brand" }, h("img", { src: "/web/mark.svg", alt: "", width: "26", height: "26" }), "Leitstand"),
    nav,
    h("div", { class: "side" },
      who && h("span", { class: "who", title: who.user.email }, nameOf(who.user)),
      who && button(t("Sign out"), signOut, "plain"),
      h("div", { class: "languages", role: "group", "aria-label": t("Language") }, [["en", "English"], ["de", "Deutsch"]].map(([code, name]) =>
        h("button", { type: "button", class: "plain", lang: code, title: name, "aria-label": name, "aria-pressed": String(code === language), on: { click: () => speak(code) } }, code.toUpperCase())))));
}

/** In a twin: that it is one, how fast, and which time it is there; kept up to date. */
function banner() {
  if (!twin()) return [];
  const text = h("b", {});
  const slow = h("span", {});
  const show = () => {
    const { speed, reached } = twin();
    text.textContent = t("Twin · {speed}x · {time}", { speed: String(speed), time: exact(new Date(now()).toISOString()) });
    slow.textContent = reached < speed * SLOW ? t("This machine reaches {speed}x.", { speed: String(Number(reached.toPrecision(3))) }) : "";
  };
  show();
  setInterval(show, SHOW_MS);
  setInterval(() => { if (!document.hidden) ask("GET", "/healthz").catch(() => {}); }, HEAR_MS);
  return [h("aside", { class: "twin", "aria-label": t("Twin") }, text, h("span", {}, t("A simulated cloud: nothing that is submitted here is executed.")), slow)];
}

async function signOut() {
  try {
    await ask("POST", "/v1/signout");
  } catch (problem) {
    if (problem.status !== 401) {
      fill(document.getElementById("main"), trouble(problem));
      return;
    }
  }
  location.assign("/");
}

function foot() {
  return h("footer", { class: "quiet" }, t("Leitstand, the control room of an industrial AI cloud."), " ",
    h("a", { href: "/v1/openapi.json" }, t("API description")));
}
