// SPDX-License-Identifier: Apache-2.0
// Elements of a page. Text goes in as text, whoever wrote it: nothing here makes markup of a string, links lead to
// this server alone, and event handlers are functions. Used by the pages.

import { ago, exact } from "./units.js";

const OURS = /^(?:\/(?![/\\])|#)/;

/** An element with attributes, event handlers in `on`, and children: elements, strings, or lists of them. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "on") {
      for (const [event, handler] of Object.entries(value)) element.addEventListener(event, handler);
    } else {
      if (/^on|^style$|^srcdoc$/i.test(name)) throw new Error(`${name} is not set by text`);
      if (name === "href" && !OURS.test(value)) throw new Error("a link leads to this server alone");
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Put children in place of what an element holds. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A time as people say it, the exact one on demand; `world`: one of the world's time, also in a twin. */
export function when(iso, world = false) {
  return iso ? h("time", { datetime: iso, title: exact(iso), "data-relative": world ? "world" : "here" }, ago(iso, world)) : "–";
}

/** A table; on narrow screens each row becomes a card that names its cells. `rows`: lists of children. */
export function table(caption, heads, rows) {
  return h("table", {},
    h("caption", { class: "quiet" }, caption),
    h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))),
    h("tbody", {}, rows.map((cells) => h("tr", {}, cells.map((cell, at) =>
      h(at ? "td" : "th", { "data-head": heads[at], scope: at ? null : "row" }, cell))))));
}

/** Names and values, one beside the other. */
export function facts(pairs) {
  return h("dl", {}, pairs.filter(Boolean).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

/** A state that needs no colour to be read. `tone`: good, bad, busy, calm. */
export function chip(tone, text) {
  return h("span", { class: `chip ${tone}` }, text);
}

export function card(title, ...children) {
  return h("section", { class: "card" }, title && h("h2", {}, title), ...children);
}

export function button(text, act, kind = "") {
  return h("button", { type: "button", class: kind, on: { click: act } }, text);
}

let told = null;

/** Tell those who listen instead of looking. */
export function announce(text) {
  told ??= document.body.appendChild(h("div", { class: "unseen", "aria-live": "polite", role: "status" }));
  told.textContent = text;
}

/** Ask before something that cannot be undone; whether it was confirmed. */
export function sure(question, yes, no, kind = "danger") {
  return new Promise((resolve) => {
    const dialog = h("dialog", { "aria-labelledby": "question" },
      h("p", { id: "question" }, question),
      h("div", { class: "buttons" },
        button(yes, () => dialog.close("yes"), kind),
        button(no, () => dialog.close(""), "plain")));
    dialog.addEventListener("close", () => {
      resolve(dialog.returnValue === "yes");
      dialog.remove();
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
