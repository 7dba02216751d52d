// SPDX-License-Identifier: Apache-2.0
// The form to run a job: a command or script, what it needs, what would become of it, and a ready example.

import { allIfAllowed, ask, at, onceKey } from "./api.js";
import { announce, button, card, fill, h } from "./dom.js";
import { Field, Form } from "./form.js";
import { language, t, word } from "./words.js";

const WORKS = ["member", "tenant_admin"];
const EXAMPLE = {
  name: "hello",
  run: 'echo "Hello from $(hostname)"\nfor step in 1 2 3 4 5; do\n  echo "step $step of 5"\n  sleep 1\ndone\necho "done"\n',
};

export async function run({ main, who }) {
  const [places, sites] = await Promise.all([placesOf(who), ask("GET", "/v1/sites")]);
  const gpus = sites.items.reduce((sum, site) => sum + site.gpus, 0);
  if (!places.length) {
    fill(main, h("h1", {}, t("Run a job")), card("", h("p", {}, t("None of your roles lets you run jobs. Ask an administrator of your tenant for the role member."))));
    return;
  }
  const place = new Field({
    pointer: "/project", label: t("Project"), kind: "select", options: places.map((one, at) => [String(at), one.join(" / ")]), value: "0",
  });
  const name = new Field({ pointer: "/name", label: t("Name"), optional: true, maxlength: 200 });
  const script = new Field({ pointer: "/run", label: t("Command or script"), kind: "textarea", rows: 8, spellcheck: "false", class: "code", hint: t("bash; it ends with the exit code of its last command") });
  const count = new Field({ pointer: "/resources/gpus", label: t("GPUs per node"), kind: "number", min: 0, value: Math.min(1, gpus) });
  const nodes = new Field({ pointer: "/num_nodes", label: t("Nodes"), kind: "number", min: 1, value: 1 });
  const most = new Field({ pointer: "/max_duration", label: t("Longest duration"), value: "10m", hint: t("then it is ended; like 90s, 1h30m, 2d") });
  const fields = [place, name, script, count, nodes, most];
  const told = h("div", { class: "plan", "aria-live": "polite" });
  let key = onceKey();

  const asked = () => {
    const [tenant, project] = places[Number(place.value)];
    const body = { tenant, project, name: name.value, run: script.value, resources: { gpus: count.value ?? 0 }, num_nodes: nodes.value ?? 0 };
    if (most.value) body.max_duration = most.value;
    return body;
  };
  const send = async () => {
    const made = await ask("POST", "/v1/jobs", asked(), { headers: { "Idempotency-Key": key } });
    announce(t("Job {id} was submitted.", { id: made.id }));
    location.hash = `#job/${encodeURIComponent(made.id)}`;
  };
  const form = new Form({
    children: [places.length > 1 ? place.element : null, name.element, script.element, h("div", { class: "row" }, count.element, nodes.element, most.element), told].filter(Boolean),
    fields: () => fields, submit: t("Run"), send,
  });
  form.element.addEventListener("input", () => { key = onceKey(); fill(told); });
  form.go.after(button(t("What would happen?"), async () => {
    try {
      form.clear();
      fill(told, planText(await ask("POST", "/v1/plan", asked())));
    } catch (problem) {
      form.show(problem);
    }
  }, "plain"));
  const example = button(t("Run the example now"), () => {
    name.input.value = EXAMPLE.name;
    script.input.value = EXAMPLE.run;
    key = onceKey();
    form.element.requestSubmit();
  }, "second");
  fill(main, h("div", { class: "title" }, h("h1", {}, t("Run a job"))),
    h("div", { class: "split" }, card("", form.element),
      h("aside", {}, card(t("No job at hand?"), h("p", {}, t("The example prints a line a second for five seconds.")), example),
        card(t("From a terminal"), h("p", {}, t("The same, with files of your own:")),
          h("pre", { class: "code" }, `leitstand login --url ${location.origin}\nleitstand run --gpus 1 -- python train.py`)))));
}

/** (tenant, project) pairs in which jobs can be run. */
async function placesOf(who) {
  const found = new Map();
  const add = (tenant, project) => found.set(`${tenant}/${project}`, [tenant, project]);
  if (who.home && (who.user.id === "admin" || who.roles.some((one) => WORKS.includes(one.role)))) add(who.home.tenant, who.home.project);
  for (const { role, tenant, project } of who.roles) {
    if (!tenant || !WORKS.includes(role)) continue;
    if (project) add(tenant, project);
    else for (const one of await allIfAllowed(at("tenants", tenant, "projects"))) if (one.open) add(tenant, one.name);
  }
  return [...found.values()];
}

function planText(plan) {
  const price = plan.price.eur === null ? t("no price plan is in force") : `${plan.price.eur} EUR`;
  const where = plan.tasks.map((task) => `${task.node}${task.gpus.length ? ` (GPU ${task.gpus.join(", ")})` : ""}`).join("; ");
  const what = !plan.admitted ? t("It would be refused: {why}", { why: language === "en" ? plan.message : word("reason", plan.reason) })
    : plan.starts_now ? t("It would start at once on {where}.", { where })
      : t("It would wait ({why}); {n} jobs come first.", { why: word("reason", plan.waits_for), n: plan.jobs_ahead });
  return [h("p", {}, what), h("p", { class: "quiet" }, t("Price: {price}", { price }))];
}
