// SPDX-License-Identifier: Apache-2.0
// The form to apply for a tenant. Every fault that the API finds is shown at its field.

import { agreementPath, ask, onceKey } from "./api.js";
import { button, fill, h } from "./dom.js";
import { Field, Form } from "./form.js";
import { open } from "./frame.js";
import { keepClaim } from "./claim.js";
import { language, t, word } from "./words.js";

const CLASSES = ["industry", "startup", "research", "public"];
const SIZES = ["micro", "small", "medium", "large", "public"];
const CONTACTS = ["contract", "billing", "technical", "security", "privacy"];
const RELATIONS = ["partner", "linked"];
const FIGURES = ["headcount", "turnover_eur", "balance_eur"];

const choice = (kind, codes) => codes.map((code) => [code, word(kind, code)]);

async function page(main) {
  const agreement = await ask("GET", agreementPath());
  const f = simple();
  const accepted = new Field({ pointer: "/agreement", label: t("I accept this contract, version {version}, for the organisation.", { version: agreement.version }), kind: "checkbox" });
  const own = new Field({ pointer: "", label: t("I am also the contact for the contract."), kind: "checkbox", value: true });
  const contacts = new Rows(t("Contact"), contactFields);
  const linked = new Rows(t("Enterprise"), linkedFields);
  const key = onceKey();
  const fields = () => [...Object.values(f), accepted, ...contacts.fields((at) => at + (own.value ? 1 : 0)), ...linked.fields((at) => at)];

  const form = new Form({
    fields, submit: t("Send the application"), kind: "long",
    children: [
      part(t("Organisation"), f.name.element, row(f.tenant, f.class), row(f.street), row(f.postcode, f.city, f.country), row(f.vat_id, f.leitweg_id)),
      part(t("Size class"), h("p", { class: "hint" }, t("As declared under Recommendation 2003/361/EC; it decides on help for small enterprises. Figures of the last closed year.")),
        row(f.size_class, f.headcount, f.turnover_eur, f.balance_eur), linked.element, button(t("Add a partner or linked enterprise"), () => linked.add(), "plain")),
      part(t("You"), row(f.applicant, f.email), own.element, h("p", { class: "hint" }, t("You will be the first administrator of the tenant."))),
      part(t("Further contacts"), contacts.element, button(t("Add a contact"), () => contacts.add(), "plain")),
      part(t("What for?"), f.purpose.element),
      part(t("Data-processing contract"), h("div", { class: "contract", tabindex: "0", role: "region", "aria-label": t("Text of the contract") }, markdown(agreement.text)), accepted.element),
    ],
    send: async () => {
      const body = application(f, accepted.value ? agreement.version : "", own.value, contacts, linked);
      let filed;
      try {
        filed = await ask("POST", "/v1/applications", body, { headers: { "Idempotency-Key": key } });
      } catch (problem) {
        problem.errors = (problem.errors ?? []).map((one) => told(one, own.value, accepted.value)).filter(Boolean);
        throw problem;
      }
      keepClaim(filed.claim);
      location.assign("/application");
    },
  });
  own.input.addEventListener("change", () => { if (!own.value && !contacts.items.length) contacts.add(); });
  fill(main, h("div", { class: "title" }, h("h1", {}, t("Apply for a tenant"))),
    h("p", { class: "intro" }, t("It takes about five minutes. Then identity, sanctions lists, export control and size class are checked; you see how far it is at any time. What you enter is kept encrypted, apart from the journal, and is erased on request.")),
    form.element);
}

function simple() {
  const text = (pointer, label, more = {}) => new Field({ pointer, label, ...more });
  const country = text("/legal/country", t("Country"), { value: language === "de" ? "DE" : "", maxlength: 2, autocomplete: "country", hint: t("code of two letters like DE") });
  country.input.addEventListener("input", () => { country.hint.textContent = countryName(country.value) || t("code of two letters like DE"); });
  if (country.value) country.hint.textContent = countryName(country.value);
  return {
    name: text("/legal/name", t("Legal name"), { autocomplete: "organization" }),
    tenant: text("/tenant", t("Id of the tenant"), { hint: t("short, like acme: a-z, 0-9 and -; it begins the names of your jobs"), spellcheck: "false", autocapitalize: "none" }),
    class: text("/class", t("Class"), { kind: "select", options: choice("class", CLASSES), value: "industry" }),
    street: text("/legal/street", t("Street and number"), { autocomplete: "street-address" }),
    postcode: text("/legal/postcode", t("Postcode"), { autocomplete: "postal-code" }),
    city: text("/legal/city", t("City"), { autocomplete: "address-level2" }),
    country,
    vat_id: text("/legal/vat_id", t("VAT id"), { optional: true, hint: t("with the code of the country, like DE136695976") }),
    leitweg_id: text("/legal/leitweg_id", t("Leitweg-ID"), { optional: true, hint: t("for invoices to German public bodies") }),
    size_class: sizeClass(),
    headcount: figure("/legal/headcount", t("Heads"), t("annual work units")),
    turnover_eur: figure("/legal/turnover_eur", t("Turnover in EUR")),
    balance_eur: figure("/legal/balance_eur", t("Balance sheet in EUR")),
    applicant: text("/applicant/name", t("Your name"), { autocomplete: "name" }),
    email: text("/applicant/email", t("Your e-mail address"), { kind: "email", autocomplete: "email" }),
    purpose: text("/purpose", t("Purpose"), { kind: "textarea", rows: 3, optional: true, hint: t("what you want to compute, in a few sentences") }),
  };
}

function sizeClass() {
  const field = new Field({ pointer: "/legal/size_class", label: t("Declared"), kind: "select", options: choice("size", SIZES), value: "medium" });
  const tell = () => { field.hint.textContent = word("ceiling", field.value); };
  field.input.addEventListener("change", tell);
  tell();
  return field;
}

function figure(pointer, label, hint = "") {
  return new Field({ pointer, label, hint, kind: "number", min: 0, step: 1, optional: true });
}

function contactFields() {
  return {
    role: new Field({ label: t("For"), kind: "select", options: choice("contact", CONTACTS), value: "contract" }),
    name: new Field({ label: t("Name") }),
    email: new Field({ label: t("E-mail"), kind: "email" }),
    phone: new Field({ label: t("Telephone"), kind: "tel", optional: true }),
  };
}

function linkedFields() {
  return {
    name: new Field({ label: t("Legal name") }),
    relation: new Field({ label: t("Relation"), kind: "select", options: choice("relation", RELATIONS), value: "linked" }),
    share_percent: new Field({ label: t("Share in percent"), kind: "number", min: 0, max: 100, optional: true, hint: t("of a partner: 25 to 50") }),
    headcount: figure("", t("Heads"), t("annual work units")),
    turnover_eur: figure("", t("Turnover in EUR")),
    balance_eur: figure("", t("Balance sheet in EUR")),
  };
}

/** Rows of fields that can be added and removed. */
class Rows {
  constructor(title, make) {
    this.title = title;
    this.make = make;
    this.items = [];
    this.element = h("div", { class: "rows" });
  }

  add() {
    const item = this.make();
    const element = h("fieldset", {}, h("legend", {}, this.title), row(...Object.values(item)),
      button(t("Remove"), () => {
        this.items = this.items.filter((one) => one !== item);
        element.remove();
      }, "plain"));
    this.items.push(item);
    this.element.append(element);
    Object.values(item)[0].input.focus();
  }

  /** All fields, with the pointers that they have now; `place(at)`: which entry of the list the row is. */
  fields(place) {
    const list = this.make === contactFields ? "contacts" : "linked_enterprises";
    return this.items.flatMap((item, at) => Object.entries(item).map(([name, field]) => {
      field.pointer = `/legal/${list}/${place(at)}/${name}`;
      return field;
    }));
  }

  get value() {
    return this.items.map((item) => given(item, Object.keys(item)));
  }
}

/** What was entered; what may be left out and is empty, is left out. */
function given(fields, names) {
  const found = {};
  for (const name of names) {
    const { value } = fields[name];
    const optional = !fields[name].input.required;
    if (!(optional && (value === "" || value === null))) found[name] = value;
  }
  return found;
}

function application(f, version, own, contacts, linked) {
  const legal = given(f, ["name", "street", "postcode", "city", "country", "size_class", "vat_id", "leitweg_id", ...FIGURES]);
  legal.country = legal.country.toUpperCase();
  legal.contacts = [...(own ? [{ role: "contract", name: f.applicant.value, email: f.email.value }] : []), ...contacts.value];
  if (linked.items.length) legal.linked_enterprises = linked.value;
  const body = { tenant: f.tenant.value, class: f.class.value, legal, applicant: { name: f.applicant.value, email: f.email.value }, agreement: version };
  if (f.purpose.value.trim()) body.purpose = f.purpose.value;
  return body;
}

/** A fault where somebody can mend it: what was taken from the applicant is not told twice. */
function told({ where, what }, own, accepted) {
  if (where === "/agreement" && !accepted) return { where, what: t("has to be accepted") };
  if (own && where.startsWith("/legal/contacts/0")) return null;
  return { where, what };
}

function part(title, ...children) {
  return h("fieldset", { class: "card" }, h("legend", {}, title), ...children);
}

function row(...fields) {
  return h("div", { class: "row" }, fields.map((field) => field.element));
}

function countryName(code) {
  try {
    const name = new Intl.DisplayNames(language, { type: "region", fallback: "none" }).of(code.toUpperCase());
    return name ?? "";
  } catch {
    return "";
  }
}

/** The contract, which we wrote ourselves: headings, paragraphs and lists, each as text. */
function markdown(text) {
  return text.trim().split(/\n\s*\n/).flatMap((block) => {
    if (block.startsWith("## ")) return [h("h3", {}, block.slice(3))];
    if (block.startsWith("# ")) return [h("h2", {}, block.slice(2))];
    if (/^[-*] /.test(block)) return [h("ul", {}, block.split(/\n(?=[-*] )/).map((item) => h("li", {}, item.slice(2).replace(/\s+/g, " ").replaceAll("`", ""))))];
    return [h("p", {}, block.replace(/\s+/g, " ").replaceAll("`", ""))];
  });
}

await open(t("Apply"), page);
