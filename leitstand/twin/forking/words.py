# SPDX-License-Identifier: Apache-2.0
"""The answer in plain sentences. Called by the report and the CLI."""

from typing import Final

from leitstand.core.units import SECOND_US
from leitstand.twin.forking.figures import ALL, Answer, Compared, Range
from leitstand.twin.forking.telling import Told
from leitstand.twin.forking.times import shown, shown_span
from leitstand.twin.forking.whatif import AS_PLANNED

SAME_S: Final = 60.0  # a difference of waits that nobody feels,
SAME_PART: Final = 0.02  # or so small a part of them


def sentences(answer: Answer, one: Compared) -> list[str]:
    """What the scenario means, against what is planned: waits, use, lost work, guarantees, money; then what was
    refused."""
    planned = next((other for other in answer.scenarios if other.name == AS_PLANNED), None)
    said = [] if planned is None or one is planned else _against(answer, planned, one)
    if one is planned:
        said = _as_it_is(one)
    return [*said, *troubles(one)]


def _as_it_is(one: Compared) -> list[str]:
    figures = one.figures[ALL]
    jobs = (
        f"Of {figures['jobs'].mean:,.0f} jobs {figures['started'].mean:,.0f} start; the mean wait is "
        f"{_span(figures.get('wait_s'))}, one in ten waits longer than {_span(figures.get('wait_p90_s'))}."
    )
    said = [
        jobs,
        f"{figures['utilisation'].mean:.1%} of the capacity is used.",
    ]
    if figures["lost_gpu_hours"].mean >= 1:
        said.append(f"{figures['lost_gpu_hours'].mean:,.0f} GPU-hours of work are lost and done again.")
    return said


def _against(answer: Answer, planned: Compared, one: Compared) -> list[str]:
    said = [waits for name in answer.classes if (waits := _waits(name, planned, one))]
    if not said:
        said.append("No class waits noticeably longer or less.")
    now, more, before = one.figures[ALL], one.more[ALL], planned.figures[ALL]
    said.append(
        f"{now['utilisation'].mean:.1%} of the capacity is used, instead of {before['utilisation'].mean:.1%}. "
        f"Work done: {_differs(more['useful_gpu_hours'], 'GPU-hours')}; "
        f"lost and done again: {_differs(more['lost_gpu_hours'], 'GPU-hours')}."
    )
    for name in answer.classes:
        owed = one.more.get(name, {}).get("guaranteed_gpu_hours")
        used = one.figures.get(name, {}).get("guarantee_used")
        if owed is not None and used is not None and abs(owed.mean) >= 1:
            differs = _differs(owed, "GPU-hours")
            said.append(f"Guaranteed to {name}: {differs}; {used.mean:.0%} of its guarantee is used.")
    if answer.priced:
        said.append(f"Revenue: {_differs(more['eur'], 'EUR')}.")
    return said


def _waits(name: str, planned: Compared, one: Compared) -> str:
    """'' if the class waits as long as planned."""
    found = [ranges.get(name, {}).get("wait_s") for ranges in (one.figures, planned.figures, one.more)]
    now, old, more = found
    if now is None or old is None or more is None or abs(more.mean) < max(SAME_S, SAME_PART * old.mean):
        return ""
    way, spread = "longer" if more.mean > 0 else "less", ""
    if more.low != more.high:
        spread = f" (by seed {_signed_span(more.low)} to {_signed_span(more.high)})"
    return (
        f"{name.capitalize()} waits {shown_span(abs(more.mean) * SECOND_US)} {way}: "
        f"{_span(now)} on average instead of {_span(old)}{spread}."
    )


def troubles(one: Compared) -> list[str]:
    """What was refused, and what was granted and changes nothing."""
    unheeded = (without_effect(told) for told in one.told if told.unheeded)
    return [*(refusal(told) for told in one.told if told.refused), *unheeded]


def without_effect(told: Told) -> str:
    """Why a contract changes nothing, and what to write."""
    return (
        f"Without effect: {told.what}. Under {told.unheeded} contracts do not decide who starts; to see what they "
        "would do under fair, write `- rules: {discipline: fair}` under `base`."
    )


def refusal(told: Told) -> str:
    """What was not granted, why, and from when on it was."""
    until = f"granted on {shown(told.granted_us)}" if told.granted_us else "never granted in this time"
    return f"Refused: {told.what}. The core says: {told.refused}. It was asked again every day, and {until}."


def _span(value: Range | None) -> str:
    return "-" if value is None else shown_span(value.mean * SECOND_US)


def _differs(value: Range, unit: str) -> str:
    """`1,200 EUR more`."""
    return f"{abs(value.mean):,.0f} {unit} {'more' if value.mean > 0 else 'less'}"


def _signed_span(seconds: float) -> str:
    sign = "\N{MINUS SIGN}" if seconds < 0 else "+"
    return sign + shown_span(abs(seconds) * SECOND_US)
