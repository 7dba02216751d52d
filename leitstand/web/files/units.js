// SPDX-License-Identifier: Apache-2.0
// Numbers, amounts and times for people, each with its unit. Used by the pages.

import { now, twin } from "./clock.js";
import { language, t } from "./words.js";

const RELATIVE = new Intl.RelativeTimeFormat(language, { numeric: "auto", style: "long" });
const EXACT = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "medium" });
const DAY = new Intl.DateTimeFormat(language, { dateStyle: "medium" });
const STEPS = [[60, "second", 1], [3600, "minute", 60], [86400, "hour", 3600], [Infinity, "day", 86400]];
const LOOK_MS = 10_000;
const TWIN_LOOK_MS = 1000;

export function number(value, digits = 0) {
  const least = 10 ** -digits;
  if (value > 0 && value < least / 2) return `< ${least.toLocaleString(language)}`;
  return value.toLocaleString(language, { maximumFractionDigits: digits });
}

/** "3 minutes ago"; `world`: seen from the world's time, also in a twin. */
export function ago(iso, world = false) {
  const seconds = (Date.parse(iso) - (world ? Date.now() : now())) / 1000;
  const [, unit, length] = STEPS.find(([limit]) => Math.abs(seconds) < limit);
  return RELATIVE.format(Math.round(seconds / length), unit);
}

export function exact(iso) {
  return EXACT.format(new Date(iso));
}

export function day(iso) {
  return DAY.format(new Date(iso));
}

/** Seconds as 1 h 30 min. */
export function span(seconds) {
  if (seconds < 10) return `${number(seconds, 1)} s`;
  let rest = Math.round(seconds);
  const parts = [];
  for (const [length, unit] of [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]]) {
    const count = Math.floor(rest / length);
    rest -= count * length;
    if (count) parts.push(`${count} ${unit === "d" ? t("d") : unit}`);
  }
  return parts.slice(0, 2).join(" ");
}

/** GPU time: seconds while small, else hours. */
export function gpuTime(seconds) {
  return seconds < 3600 ? `${number(seconds, 1)} GPU-s` : `${number(seconds / 3600, 2)} GPU-h`;
}

export function coreTime(seconds) {
  const unit = t("core");
  return seconds < 3600 ? `${number(seconds, 1)} ${unit}-s` : `${number(seconds / 3600, 2)} ${unit}-h`;
}

/** Keeps every <time> of the page up to date. */
export function keepTimes() {
  setInterval(() => {
    for (const element of document.querySelectorAll("time[data-relative]")) {
      element.textContent = ago(element.dateTime, element.dataset.relative === "world");
    }
  }, twin() ? TWIN_LOOK_MS : LOOK_MS);
}
