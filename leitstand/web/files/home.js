// SPDX-License-Identifier: Apache-2.0
// The first page: sign-in for strangers, else jobs, a job, a form to run one, usage, and one's account; the part after
// # says which.

import { fill } from "./dom.js";
import { open, trouble } from "./frame.js";
import { account } from "./account.js";
import { job } from "./job.js";
import { jobs } from "./jobs.js";
import { run } from "./run.js";
import { welcome } from "./signin.js";
import { usage } from "./usage.js";

const PARTS = { jobs, job, run, usage, account };

await open("Leitstand", async (main, who) => {
  if (!who) {
    await welcome(main);
    return;
  }
  let leaving = new AbortController();
  const show = async (moved) => {
    leaving.abort();
    leaving = new AbortController();
    const { signal } = leaving;
    const [name, ...rest] = location.hash.slice(1).split("/");
    const part = Object.hasOwn(PARTS, name) ? PARTS[name] : jobs;
    main.className = name in PARTS ? name : "jobs";
    fill(main);
    try {
      await part({ main, who, signal, rest: decodeURIComponent(rest.join("/")) });
    } catch (problem) {
      if (!signal.aborted) fill(main, trouble(problem));
    }
    if (moved && !signal.aborted) main.focus({ preventScroll: true });
  };
  window.addEventListener("hashchange", () => show(true));
  await show(false);
});
