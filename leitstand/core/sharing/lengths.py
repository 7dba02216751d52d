# SPDX-License-Identifier: Apache-2.0
"""How long a job will probably take, by what its project ran before. Part of the state: runs that end teach it, a job
is predicted once, when it is admitted.

What is known of a project are a few averages: of what was submitted with the same spec, of its user's jobs of the same
size, of its user, of the whole project. The first of these that is known is the prediction. Each run that ends moves
them a quarter of the way towards its own length, so that ten runs later what was before counts for a twentieth.

A prediction only orders jobs of equal priority inside a project (`standing.key_of`): a job stands as if submitted later
by what it is predicted to take, at most by `Sharing.predicted_max_us`. So a short job overtakes a long one that came a
little before it, and a job that came earlier by more than that is overtaken by none. Limits decide what fits.

What a job says itself (`expected_us`) does not count here: saying less would cost nothing and put it first. Its time
limit does, as the most that it can take, since runs end there.
"""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from leitstand.core.jobs import Job, Run
    from leitstand.core.state import State

KNOWN_MAX: Final = 512  # averages of a project; the one that nothing was learned about for longest goes
WEIGHT: Final = 4  # a run moves an average by one part in so many
_PROJECT: Final = "project"


def learn(state: "State", job: "Job", run: "Run", outcome: str, ended_us: int) -> None:
    """A run of the job is over: if it ended for good, by itself, at its limit or because its user wanted so, take up
    how long the job worked, with what checkpoints kept of earlier runs."""
    told = outcome == "stopped" and run.stopping == "cancel"
    if not run.has_started or not (told or outcome in ("exited", "time_limit")):
        return
    length_us = job.kept_us + ended_us - run.started_us
    known = state.lengths.setdefault(state.leaf(job), {})
    for name in _names(job):
        before = known.pop(name, length_us)
        known[name] = before + (length_us - before) // WEIGHT
    while len(known) > KNOWN_MAX:
        del known[next(iter(known))]


def predict(state: "State", job: "Job") -> int:
    """By how much (µs) the job stands behind the time of its submission, given what was learned so far: what it is
    predicted to take, or its time limit if nothing is known, at most `Sharing.predicted_max_us`."""
    most = state.rules.sharing.predicted_max_us
    if job.max_duration_us:
        most = min(most, job.max_duration_us)
    known = state.lengths.get(state.leaf(job), {})
    return min(next((known[name] for name in _names(job) if name in known), most), most)


def _names(job: "Job") -> list[str]:
    """What the job is predicted by, the closest first. A spec is of one user, and names what he wants to run."""
    by_spec = [f"spec {job.spec}"] if job.spec else []
    by_user = [f"size {job.charge_milli} of {job.user}", f"user {job.user}"] if job.user else []
    return [*by_spec, *by_user, _PROJECT]
