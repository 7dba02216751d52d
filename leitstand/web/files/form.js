// SPDX-License-Identifier: Apache-2.0
// Forms: fields with label, hint and fault; every fault of an answer at the field it is about, all at once. Used by
// the pages. A field is found by the JSON pointer that the API has for it.

import { announce, fill, h } from "./dom.js";
import { fault, t } from "./words.js";

let count = 0;

/** A field. `pointer`: what the API calls it; `kind`: text, email, number, textarea, select, checkbox, password. */
export class Field {
  constructor({ pointer, label, kind = "text", hint = "", value = "", options = [], optional = false, ...more }) {
    count += 1;
    this.pointer = pointer;
    this.kind = kind;
    this.label = label;
    const id = `f${count}`;
    const described = `${id}-hint ${id}-fault`;
    const common = { id, "aria-describedby": described, required: !optional, ...more };
    if (kind === "textarea") this.input = h("textarea", common, String(value));
    else if (kind === "select") {
      this.input = h("select", common, options.map(([code, text]) => h("option", { value: code, selected: code === value }, text)));
    } else {
      this.input = h("input", { ...common, type: kind });
      if (kind === "checkbox") this.input.checked = Boolean(value);
      else this.input.value = value;
    }
    this.hint = h("p", { class: "hint", id: `${id}-hint` }, hint);
    this.told = h("p", { class: "fault", id: `${id}-fault` });
    const name = h("label", { for: id }, label, optional && h("span", { class: "quiet" }, ` (${t("optional")})`));
    this.element = kind === "checkbox"
      ? h("div", { class: "field check" }, h("div", {}, this.input, name), hint && this.hint, this.told)
      : h("div", { class: "field" }, name, this.input, this.hint, this.told);
    if (kind === "checkbox" && !hint) this.input.setAttribute("aria-describedby", `${id}-fault`);
    this.input.addEventListener("input", () => this.blame(""));
  }

  /** As the API takes it: trimmed text, a number, a truth; null for an empty number. */
  get value() {
    if (this.kind === "checkbox") return this.input.checked;
    if (this.kind === "number") return this.input.value === "" ? null : Number(this.input.value);
    return this.kind === "textarea" || this.kind === "password" ? this.input.value : this.input.value.trim();
  }

  blame(what) {
    this.told.textContent = what;
    if (what) this.input.setAttribute("aria-invalid", "true");
    else this.input.removeAttribute("aria-invalid");
  }
}

/** A form that sends itself by `send()`, which may throw a Problem. `fields()`: all that it has now. */
export class Form {
  constructor({ children, fields, send, submit, kind = "" }) {
    this.fields = fields;
    this.faults = h("div", { class: "faults", role: "alert", tabindex: "-1" });
    this.go = h("button", { type: "submit" }, submit);
    this.element = h("form", { class: kind, novalidate: true, on: { submit: (event) => this.sent(event, send) } },
      this.faults, ...children, h("div", { class: "buttons" }, this.go));
  }

  async sent(event, send) {
    event.preventDefault();
    if (this.go.getAttribute("aria-disabled")) return;
    this.go.setAttribute("aria-disabled", "true"); // the focus stays where it is
    try {
      this.clear();
      await send();
    } catch (problem) {
      this.show(problem);
    } finally {
      this.go.removeAttribute("aria-disabled");
    }
  }

  clear() {
    fill(this.faults);
    for (const field of this.fields()) field.blame("");
  }

  /** Tell a Problem: each fault at its field, the others and the sum above. */
  show(problem) {
    const fields = this.fields();
    const lines = [];
    for (const { where, what } of problem.errors ?? []) {
      const field = of(fields, where);
      const said = fault(what);
      if (field) {
        field.blame(field.told.textContent ? `${field.told.textContent}; ${said}` : said);
        lines.push(h("li", {}, h("a", { href: `#${field.input.id}`, on: { click: (event) => { event.preventDefault(); field.input.focus(); } } }, field.label), `: ${said}`));
      } else lines.push(h("li", {}, `${where} ${said}`));
    }
    const many = lines.length;
    const head = many ? (many > 1 ? t("{n} things are not right yet:", { n: many }) : t("One thing is not right yet:"))
      : fault(problem.message || String(problem));
    fill(this.faults, h("p", {}, head), many ? h("ul", {}, lines) : null);
    this.faults.focus();
    announce(head);
  }
}

/** The field for a pointer, or for the place that it lies in. */
function of(fields, where) {
  const exact = fields.find((field) => field.pointer === where);
  return exact ?? fields.find((field) => field.pointer && where.startsWith(`${field.pointer}/`));
}
