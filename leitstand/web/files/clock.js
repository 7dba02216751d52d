// SPDX-License-Identifier: Apache-2.0
// Which time it is here: the world's, or in a twin that of the twin, which every answer tells. Used by the pages.

const HEADER = "Leitstand-Twin";
const TRUSTED_MS = 4000; // for so long time goes on by itself: a twin that nobody hears of may stand still

let told = null; // of a twin: its speed, what it reaches of it, which time it was (ms), and when that was heard

/** Take the time of a twin from one of its answers. */
export function hear(response) {
  const said = response.headers.get(HEADER);
  if (!said) return;
  const parts = Object.fromEntries(said.split(", ").map((part) => part.split("=")));
  const at = Date.parse(parts.now);
  if (Number.isNaN(at)) return;
  told = { speed: Number(parts.speed), reached: Number(parts.reached), at, heard: performance.now() };
}

/** The time here, in ms since 1970. */
export function now() {
  if (!told) return Date.now();
  return told.at + Math.min(performance.now() - told.heard, TRUSTED_MS) * told.reached;
}

/** It is at least that late here: something was said to have happened then, and news travel while time goes on. */
export function atLeast(...isos) {
  if (!told) return;
  const latest = Math.max(...isos.filter(Boolean).map(Date.parse));
  if (latest > now()) told = { ...told, at: latest, heard: performance.now() };
}

/** How fast time goes in this twin, null in a real control plane. */
export function twin() {
  return told && { speed: told.speed, reached: told.reached };
}
