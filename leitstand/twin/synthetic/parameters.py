# SPDX-License-Identifier: Apache-2.0
"""The parameters of the synthetic cloud: what was fitted (`fitted.json`) and what is assumed (`assumed.yaml`).

`fitted.json` is written by `leitstand.twin.synthetic.fit` and never by hand; each part names its source and licence.
`assumed.yaml` is written by hand: what no trace that may be used says. Called by the generator and the fit.
"""

import math
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final

import msgspec
import yaml

from leitstand.core.rules import TENANT_CLASSES

HOURS_OF_WEEK: Final = 168
LEVELS: Final = (0.0, 0.05, 0.1, 0.25, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.96, 0.97, 0.98,
                 0.985, 0.99, 0.9925, 0.995, 0.9975, 0.999, 1.0)  # fmt: skip
"""The chances at which a `Curve` gives its values."""

Curve = tuple[float, ...]
"""A distribution: the values below which a number is with the chances of `LEVELS`; in between, straight lines."""


def mean_of(curve: Curve) -> float:
    """The mean of a number with this distribution."""
    steps = zip(LEVELS, LEVELS[1:], curve, curve[1:], strict=False)
    return math.fsum((end - start) * (low + high) / 2 for start, end, low, high in steps)


def mean_of_square(curve: Curve) -> float:
    """The mean of its square."""
    steps = zip(LEVELS, LEVELS[1:], curve, curve[1:], strict=False)
    return math.fsum(
        (end - start) * (low * low + low * high + high * high) / 3 for start, end, low, high in steps
    )


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a fitted part comes from. `fitted_on`, `tested_on`: which part of the record; `rows`: of the former."""

    title: str
    url: str
    licence: str
    fitted_on: str
    tested_on: str
    rows: int


class Bracket(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Jobs of `least_gpus` GPUs and more, up to the next bracket. `members`: of a batch. Durations are a mixture of
    lognormals, cut off at `shortest_s` and `longest_s`: the least and the most that was recorded."""

    least_gpus: int
    members: Curve
    weights: tuple[float, ...]
    median_s: tuple[float, ...]
    sigma: tuple[float, ...]
    shortest_s: float
    longest_s: float


class Likeness(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How alike the durations of a tenant's jobs are, and how often it goes on with what it did.

    `tenant`: the share of the variance of normal scores that all its jobs have in common. `as_batch`: the chance that
    a job is as long as its batch is, `as_campaign`: that the batch is as long as its campaign is; else their length is
    their own. `off`: the share of the variance by which a job that is as long as its batch still differs. `goes_on`:
    the chance that a tenant's next batch belongs to the campaign of the one before.
    """

    tenant: float
    as_batch: float
    as_campaign: float
    off: float
    goes_on: float


class Family(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Batch jobs as one recorded cluster has them. A *batch*: jobs of one tenant and size, at most 60 s apart.

    `activity`: the k-th tenant submits in proportion to k^-activity. `burst_sigma`, `burst_hours`: a tenant's rate is
    multiplied by a lognormal of mean 1 whose logarithm has that deviation and forgets itself in that time. `sizes`:
    GPUs → share of batches; `tilt`: the deviation over tenants of the power of the GPUs by which their shares differ
    from these. `gap_s`: between two jobs of a batch.
    """

    source: str
    tenants: int
    batches_per_hour: float
    activity: float
    burst_sigma: float
    burst_hours: float
    sizes: dict[int, float]
    tilt: float
    gap_s: Curve
    brackets: tuple[Bracket, ...]
    likeness: Likeness


class Requests(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Requests to a language model. `context`, `generated`: tokens; `arrivals_cv`: deviation over mean of the time
    between two."""

    source: str
    context: Curve
    generated: Curve
    context_mean: float
    generated_mean: float
    arrivals_cv: float


class Fitted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that was fitted. `profiles`: arrivals by hour of the week, Monday 0 h first, mean 1, by source."""

    version: int
    sources: dict[str, Source]
    families: dict[str, Family]
    profiles: dict[str, tuple[float, ...]]
    activities: dict[str, float]
    requests: Requests


class Kinds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Shares of a class's GPU time."""

    batch: float
    service: float
    notebook: float


class Class(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One tenant class. `gangs`: GPUs → share of the GPU time of its batch jobs, on top of the sizes of the family.
    `early_failures`: the part of its batch jobs that fail as soon as they start."""

    gpu_share: float
    tenants_per_1000_gpus: float
    projects: int
    users_per_tenant: int
    user_activity: float
    family: str
    profile: str
    activity: str
    kinds: Kinds
    gangs: dict[int, float]
    early_failures: float


class Services(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Serving of language models; see `assumed.yaml`."""

    replica_gpus: dict[int, float]
    median_replicas: float
    sigma_replicas: float
    day: tuple[float, ...]
    weekend: float
    noise_sigma: float
    noise_hours: float
    busy: float
    headroom: float
    prefill_tokens_per_gpu_s: float
    decode_tokens_per_gpu_s: float
    longest_lease_h: int


class Notebooks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Workspaces. `milli`: thousandths of a GPU → share; `day`: hours 0..23."""

    milli: dict[int, float]
    median_h: float
    sigma: float
    longest_h: float
    day: tuple[float, ...]
    weekend: float


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Time limits as people state them: their guess times a lognormal, rounded up to one of `round_h`."""

    median_factor: float
    sigma: float
    round_h: tuple[float, ...]


class Early(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long jobs run that fail as soon as they start: a lognormal."""

    median_s: float
    sigma: float


class States(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Chances of a batch job by the tenth of the durations of its size that it falls in, the shortest first."""

    failed: tuple[float, ...]
    cancelled: tuple[float, ...]


class Assumed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that is assumed; see `assumed.yaml`."""

    version: int
    classes: dict[str, Class]
    months: tuple[float, ...]
    user_likeness: float
    longest_h: float
    largest_part: float
    services: Services
    notebooks: Notebooks
    limits: Limits
    states: States
    early: Early
    priorities: dict[str, int]


class Model(msgspec.Struct, frozen=True):
    """The whole model."""

    fitted: Fitted
    assumed: Assumed

    @property
    def version(self) -> str:
        """Names the parameters: that of the fit and that of the assumptions."""
        return f"{self.fitted.version}.{self.assumed.version}"


@cache
def shipped() -> Model:
    """The model that comes with the project."""
    folder = files("leitstand.twin.synthetic")
    fitted = msgspec.json.decode(folder.joinpath("fitted.json").read_bytes(), type=Fitted)
    assumed = msgspec.convert(yaml.safe_load(folder.joinpath("assumed.yaml").read_text()), Assumed)
    return checked(Model(fitted, assumed))


def checked(model: Model) -> Model:
    """`model`, if it holds together; ValueError names the parameter, its value and what it must be."""
    fitted, assumed = model.fitted, model.assumed
    _need(set(assumed.classes) == set(TENANT_CLASSES), "classes", list(assumed.classes), str(TENANT_CLASSES))
    _sums_to_one("gpu_share of all classes", [each.gpu_share for each in assumed.classes.values()])
    for name, each in assumed.classes.items():
        kinds = each.kinds
        _sums_to_one(f"kinds of {name}", [kinds.batch, kinds.service, kinds.notebook])
        _known(f"family of {name}", each.family, fitted.families)
        _known(f"profile of {name}", each.profile, fitted.profiles)
        _known(f"activity of {name}", each.activity, fitted.activities)
        early = each.early_failures
        _need(0 <= early < 1, f"early_failures of {name}", early, "at least 0 and below 1")
        gangs = sum(each.gangs.values())
        _need(0 <= gangs < 1, f"gangs of {name}", gangs, "at least 0 and below 1 in all")
    for name, profile in fitted.profiles.items():
        _need(len(profile) == HOURS_OF_WEEK, f"profile {name}", len(profile), f"{HOURS_OF_WEEK} hours")
        _need(min(profile) > 0, f"profile {name}", min(profile), "above 0 in every hour")
    for name, family in fitted.families.items():
        _check_family(name, family, fitted)
    _need(len(assumed.months) == 12, "months", len(assumed.months), "12 factors")
    for name, day in (("services.day", assumed.services.day), ("notebooks.day", assumed.notebooks.day)):
        _need(len(day) == 24 and min(day) > 0, name, day, "24 factors above 0")
    for chances in (assumed.states.failed, assumed.states.cancelled):
        _need(len(chances) == 10, "states", len(chances), "10 chances")
    return model


def _check_family(name: str, family: Family, fitted: Fitted) -> None:
    _known(f"source of {name}", family.source, fitted.sources)
    for field in family.likeness.__struct_fields__:
        value = getattr(family.likeness, field)
        _need(0 <= value <= 1, f"likeness of {name}, {field}", value, "in 0..1")
    least = [bracket.least_gpus for bracket in family.brackets]
    _need(
        least == sorted(set(least)) and least[0] == 1,
        f"brackets of {name}",
        least,
        "rising least_gpus from 1",
    )
    _check_curve(f"gap_s of {name}", family.gap_s)
    for bracket in family.brackets:
        said = f"of {name} from {bracket.least_gpus} GPUs"
        _check_curve(f"members {said}", bracket.members)
        _sums_to_one(f"weights {said}", bracket.weights)


def _check_curve(name: str, curve: Curve) -> None:
    rises = list(curve) == sorted(curve) and len(curve) == len(LEVELS)
    _need(rises, name, curve, f"{len(LEVELS)} values that do not fall")


def _sums_to_one(name: str, shares: tuple[float, ...] | list[float]) -> None:
    _need(
        abs(sum(shares) - 1.0) < 1e-6 and min(shares) >= 0, name, sum(shares), "shares ≥ 0 that add up to 1"
    )


def _known(name: str, value: str, names: Mapping[str, object]) -> None:
    _need(value in names, name, value, f"one of {', '.join(names)}")


def _need(holds: bool, name: str, value: object, wanted: str) -> None:
    if not holds:
        raise ValueError(f"synthetic model: {name} is {value}; it must be {wanted}")
