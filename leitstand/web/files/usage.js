// SPDX-License-Identifier: Apache-2.0
// What projects used, and which budgets there are.

import { all, allIfAllowed, at } from "./api.js";
import { now } from "./clock.js";
import { card, fill, h, table } from "./dom.js";
import { coreTime, day, gpuTime, number, span } from "./units.js";
import { t, word } from "./words.js";

export async function usage({ main }) {
  const [rows, tenants] = await Promise.all([allIfAllowed("/v1/usage?by=project"), all("/v1/tenants")]);
  const budgets = await Promise.all(tenants.map(async (tenant) => [tenant, await allIfAllowed(at("tenants", tenant.id, "budgets"))]));
  const granted = budgets.filter(([, found]) => found.length);
  fill(main, h("div", { class: "title" }, h("h1", {}, t("Usage and budgets"))),
    card(t("Used by project"), rows.length ? usedTable(rows) : h("p", { class: "quiet" }, t("Nothing has been used yet."))),
    granted.length ? granted.map(([tenant, found]) => card(t("Budgets of {tenant}", { tenant: tenant.name || tenant.id }), left(found), budgetTable(found))) : null);
}

function usedTable(rows) {
  return table(t("Usage by project"), [t("Project"), t("Jobs"), t("Run time"), t("GPU time"), t("Core time")],
    rows.map((row) => [`${row.tenant} / ${row.project}`, number(row.jobs), span(row.wall_s), gpuTime(row.gpu_s), coreTime(row.cpu_s)]));
}

/** How much is left, if all that was granted is still in force: else a sum over time tells nothing. */
function left(found) {
  const at = now();
  if (found.some((one) => Date.parse(one.expires_at) <= at || one.unit !== "gpu_us")) return null;
  const sum = (part) => found.reduce((all, one) => all + one[part] / 1e6, 0);
  const total = sum("granted"), used = sum("posted"), rest = sum("available");
  return h("div", { class: "left" },
    h("p", {}, h("b", {}, gpuTime(rest)), " ", t("of {total} are left; {used} were used.", { total: gpuTime(total), used: gpuTime(used) })),
    h("meter", { min: 0, max: total, value: rest, low: total / 5, "aria-label": t("GPU time left") }));
}

function budgetTable(found) {
  const at = now();
  return table(t("Budgets"), [t("Budget"), t("Amount"), t("Available"), t("Reserved"), t("Used"), t("Origin"), t("Valid until")], found.map((one) => [
    one.id, ...["granted", "available", "reserved", "posted"].map((part) => one.unit === "gpu_us" ? gpuTime(one[part] / 1e6) : `${number(one[part] / 1e6)} EUR`), word("origin", one.origin),
    Date.parse(one.expires_at) <= at ? t("{day} (over)", { day: day(one.expires_at) }) : day(one.expires_at)]));
}
