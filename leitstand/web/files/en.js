// SPDX-License-Identifier: Apache-2.0
// What codes of the API are called in English. The sentences of the pages are English already.

export const codes = {
  state: { pending: "waiting", starting: "starting", running: "running", stopping: "stopping", succeeded: "succeeded", failed: "failed", cancelled: "cancelled", rejected: "refused", ended: "ended" },
  reason: { booking: "booking", booking_ended: "booking over", freeing: "being freed", maintenance: "maintenance", failure: "failure", lending: "not lent", reserved: "reserved", share: "share", topology: "topology", capacity: "capacity", order: "order", exit_code: "exit code", signal: "signal", max_duration_exceeded: "longest duration exceeded", cancelled: "cancelled", start_failed: "not started", lost: "lost", shape: "shape", no_such_capacity: "no such capacity", gang_too_wide: "too many nodes", unknown_level: "unknown level", entitlement: "entitlement", tenant_suspended: "tenant suspended", tenant_exit: "tenant has left", project_closed: "project closed", limit: "over a limit", budget: "budget", held: "held", begin_time: "begin time", dependency: "dependency", dependency_failed: "dependency failed", unknown_dependency: "unknown dependency", deadline: "deadline", deadline_missed: "deadline missed" },
  message: {},
  outcome: { open: "open", passed: "passed", failed: "failed", exited: "ended by itself", signal: "killed by a signal", time_limit: "longest duration", stopped: "stopped", lost: "lost", start_failed: "not started", cancelled: "cancelled" },
  application: { open: "being checked", approved: "approved", refused: "refused", withdrawn: "withdrawn" },
  check: { identity: "Identity", sanctions: "Sanctions lists", export_control: "Export control", size_class: "Declaration of the size class", agreement: "Data-processing contract" },
  refusal: { identity: "The identity could not be established.", sanctions: "A sanctions list stands against it.", export_control: "Export control stands against it.", size_class: "The declared size class could not be confirmed.", capacity: "There is no capacity for it.", purpose: "The purpose does not fit the cloud.", incomplete: "What was needed did not come.", other: "Another reason: see the note." },
  class: { industry: "Industry", startup: "Start-up", research: "Research", public: "Public sector" },
  size: { micro: "micro", small: "small", medium: "medium", large: "large", public: "public body" },
  ceiling: { micro: "under 10 heads, at most 2 million EUR", small: "under 50 heads, at most 10 million EUR", medium: "under 250 heads, at most 50 million EUR turnover or 43 million EUR balance sheet", large: "above the others", public: "not classed by size" },
  contact: { contract: "contract", billing: "invoices", technical: "technology", security: "security", privacy: "data protection" },
  relation: { partner: "Partner enterprise", linked: "Linked enterprise" },
  role: { operator: "operator", auditor: "auditor", reviewer: "reviewer", tenant_admin: "administrator", member: "member", viewer: "viewer", applicant: "applicant", "built-in": "administrator" },
  signin: { busy: "The identity provider is busy. Try again in a moment.", code_refused: "The identity provider did not sign you in.", provider_away: "The identity provider cannot be reached.", provider_wrong: "The identity provider does not answer as it should. Tell the operator.", state_unknown: "The sign-in took too long, or began in another browser. Begin again.", token_invalid: "The identity provider sent something that is not valid. Tell the operator." },
  scope: { read: "read", jobs: "run jobs", admin: "administer" },
  origin: { paid: "paid", grant: "grant", subsidised: "subsidised" },
};
