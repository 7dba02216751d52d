// SPDX-License-Identifier: Apache-2.0
// The language of the pages: chosen by the browser's, or by the switch. English sentences are the keys; what the API
// says in codes has a word in both dictionaries. Used by every other module.

import { codes as english } from "./en.js";
import { codes as german, faults, sentences } from "./de.js";

const KEPT = "leitstand.language";

export const language = chosen();
document.documentElement.lang = language;

function chosen() {
  const kept = localStorage.getItem(KEPT);
  if (kept === "en" || kept === "de") return kept;
  return (navigator.language || "en").toLowerCase().startsWith("de") ? "de" : "en";
}

/** Choose a language; the page begins anew in it. */
export function speak(wanted) {
  localStorage.setItem(KEPT, wanted);
  location.reload();
}

/** A sentence in the language of the page; {names} in it are replaced by `values`. */
export function t(text, values = {}) {
  const said = language === "de" ? (sentences[text] ?? text) : text;
  return said.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

/** What a code of the API is called; `kind`: state, reason, check, role, … The code itself if nobody named it. */
export function word(kind, code) {
  const named = (language === "de" ? german : english)[kind] ?? {};
  return Object.hasOwn(named, code) ? named[code] : String(code);
}

/** A fault as the API words it, in the language of the page as far as that is known. */
export function fault(what) {
  if (/^is ''[,;]/.test(what)) what = "is empty";
  if (language === "en") return what;
  for (const [pattern, said] of faults) {
    const match = pattern.exec(what);
    if (match) return said.replace(/\$(\d)/g, (_, number) => match[Number(number)] ?? "");
  }
  return what;
}
