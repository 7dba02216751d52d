// SPDX-License-Identifier: Apache-2.0
// The claim of an application, kept in this browser tab alone. Used by the form and by the page that shows how far it
// is.

const KEPT = "leitstand.claim";

export function keepClaim(claim) {
  sessionStorage.setItem(KEPT, claim);
}

export function keptClaim() {
  return sessionStorage.getItem(KEPT) ?? "";
}

export function forgetClaim() {
  sessionStorage.removeItem(KEPT);
}
