# SPDX-License-Identifier: Apache-2.0
"""MIG: which instances a GPU can be cut into, as data. Called by facts (its words), the fleet, admission and the faces.

A GPU in MIG mode has *slices* of memory, with the compute that belongs to them. A *profile* (`3g.40gb`) takes so many
slices in a row, from one of a few starts; instances whose slices do not meet can exist side by side, whatever the mix.
The table below is of NVIDIA's models. A site that has others, or other profiles, describes them
(`SiteAdded.mig_models`): what it says comes before the table.

Source: NVIDIA Multi-Instance GPU User Guide, Supported MIG Profiles, and what `nvidia-smi mig -lgipp` prints (start and
size of each placement). State of November 2026; profiles are only ever added to the table, for journals name them.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from leitstand.core.places.types import means, words

TABLE_VERSION: Final = 1
SLICES_MAX: Final = 10  # of one GPU
PROFILES_MAX: Final = 16  # of one model
MODELS_MAX: Final = 32  # that a site describes
NAME_MAX: Final = 32  # characters of a profile's name


class Profile(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """A kind of instance: `size` slices from one of `starts`. `only`: what it has that one instance of a GPU can have
    (`me`: the media engines), '' for nothing."""

    name: str
    size: int
    starts: tuple[int, ...]
    only: str = ""


class Model(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """GPUs whose type has all words of `gpu_type`: how many slices, which profiles."""

    gpu_type: str
    slices: int
    profiles: tuple[Profile, ...]


class Partition(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """The instances of one GPU (its index on the node), each as `3g.40gb@4`: profile and start."""

    gpu: int
    instances: tuple[str, ...]


class Mig(msgspec.Struct, frozen=True, omit_defaults=True, gc=False, forbid_unknown_fields=True):
    """Which GPUs of a node are in MIG mode: those of `fixed` with the instances that its operator made, and, if it is
    `dynamic`, all others, where the engine makes instances as runs need them; whole they serve as well."""

    dynamic: bool = False
    fixed: tuple[Partition, ...] = ()

    @property
    def mask(self) -> int:
        """The GPUs that are partitioned for good, as a bit mask."""
        return sum(1 << one.gpu for one in self.fixed)


def _sevenths(gpu_type: str, one: str, two: str, half: str, whole: str) -> Model:
    """Seven parts of compute, eight slices of memory: 1g has one slice or two, 3g and 4g half of them."""
    return Model(
        gpu_type,
        8,
        (
            Profile(f"1g.{one}", 1, (0, 1, 2, 3, 4, 5, 6)),
            Profile(f"1g.{one}+me", 1, (0, 1, 2, 3, 4, 5, 6), "me"),
            Profile(f"1g.{two}", 2, (0, 2, 4, 6)),
            Profile(f"2g.{two}", 2, (0, 2, 4)),
            Profile(f"3g.{half}", 4, (0, 4)),
            Profile(f"4g.{half}", 4, (0,)),
            Profile(f"7g.{whole}", 8, (0,)),
        ),
    )


def _quarters(gpu_type: str, one: str, two: str, whole: str) -> Model:
    """Four parts of compute, four slices of memory."""
    return Model(
        gpu_type,
        4,
        (
            Profile(f"1g.{one}", 1, (0, 1, 2, 3)),
            Profile(f"1g.{one}+me", 1, (0, 1, 2, 3), "me"),
            Profile(f"2g.{two}", 2, (0, 2)),
            Profile(f"2g.{two}+me", 2, (0, 2), "me"),
            Profile(f"4g.{whole}", 4, (0,)),
        ),
    )


TABLE: Final = (
    _quarters("A30", "6gb", "12gb", "24gb"),
    _sevenths("A100 40GB", "5gb", "10gb", "20gb", "40gb"),
    _sevenths("A100 80GB", "10gb", "20gb", "40gb", "80gb"),
    _sevenths("H100", "10gb", "20gb", "40gb", "80gb"),
    _sevenths("H100 NVL", "12gb", "24gb", "47gb", "94gb"),
    _sevenths("H100 94GB", "12gb", "24gb", "47gb", "94gb"),
    _sevenths("H20", "12gb", "24gb", "48gb", "96gb"),
    _sevenths("GH200", "12gb", "24gb", "48gb", "96gb"),
    _sevenths("H200", "18gb", "35gb", "71gb", "141gb"),
    _sevenths("B200", "23gb", "45gb", "90gb", "180gb"),
    _sevenths("GB200", "23gb", "47gb", "93gb", "186gb"),
    _sevenths("B300", "34gb", "67gb", "135gb", "269gb"),
    _quarters("RTX PRO 6000", "24gb", "48gb", "96gb"),
)


# ── questions ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def model_of(gpu_type: str, described: Iterable[Model] = ()) -> Model | None:
    """The model of such GPUs: of those `described`, else of the table, the one with the most words."""
    for models in (tuple(described), TABLE):
        found = [one for one in models if means(one.gpu_type, gpu_type)]
        if found:
            return max(found, key=lambda one: len(words(one.gpu_type)))
    return None


def meant(asked: str, described: Iterable[Model] = ()) -> list[Model]:
    """The models that a job may mean that asks for GPUs by this name, '' for any."""
    described = tuple(described)
    exact = model_of(asked, described) if asked else None
    found = [one for one in (*described, *TABLE) if not asked or one is exact or means(asked, one.gpu_type)]
    return list(dict.fromkeys(found))


def is_profile(text: str) -> bool:
    """Whether this is how a profile is called: `3g.40gb`, `1g.10gb+me`."""
    size, point, memory = text.partition(".")
    return (
        len(text) <= NAME_MAX
        and bool(point)
        and size[:-1].isdecimal()
        and size[-1:] == "g"
        and memory[:1].isdecimal()
        and all(letter.isalnum() or letter in "+." for letter in memory)
    )


def profile_fault(profile: str, gpu_type: str, described: Iterable[Model] = ()) -> str:
    """What is wrong with asking for this profile of GPUs by that name, with what there is; '' if nothing."""
    models = meant(gpu_type, described)
    if not models:
        return f"no MIG profiles are known of GPUs called {gpu_type}"
    names = list(dict.fromkeys(one.name for model in models for one in model.profiles))
    if profile in names:
        return ""
    whose = gpu_type or "any GPU"
    return f"{whose} has no MIG profile {profile[:NAME_MAX]!r}; there are {', '.join(names)}"


# ── what is wrong with a description ──────────────────────────────────────────────────────────────────────────────────
def models_fault(models: Sequence[Model]) -> str:
    """What is wrong with the models that a site describes, '' if nothing."""
    if len(models) > MODELS_MAX:
        return f"{len(models)} models of GPUs are described; the limit is {MODELS_MAX}"
    for one in models:
        fault = _model_fault(one)
        if fault:
            return f"MIG of {one.gpu_type[:NAME_MAX]!r}: {fault}"
    return ""


def _model_fault(model: Model) -> str:
    if not words(model.gpu_type):
        return "the type of GPU has no name"
    if not 1 <= model.slices <= SLICES_MAX:
        return f"{model.slices} slices, not in 1..{SLICES_MAX}"
    if not 1 <= len(model.profiles) <= PROFILES_MAX:
        return f"{len(model.profiles)} profiles, not in 1..{PROFILES_MAX}"
    if len({one.name for one in model.profiles}) < len(model.profiles):
        return "two profiles have the same name"
    for one in model.profiles:
        if not is_profile(one.name):
            return f"{one.name[:NAME_MAX]!r} is no name of a profile, such as 3g.40gb"
        if not one.starts or len(set(one.starts)) < len(one.starts):
            return f"{one.name} needs starts, each once"
        if one.size < 1 or min(one.starts) < 0 or max(one.starts) + one.size > model.slices:
            return f"{one.name} with {one.size} slices from {max(one.starts)} is outside of {model.slices}"
    return ""


def mig_fault(mig: Mig, gpus: int, model: Model | None) -> str:
    """What is wrong with the MIG mode of a node with so many GPUs of that model, '' if nothing."""
    if model is None:
        return "MIG profiles of its type of GPU are not known: name the type (H100 80GB), or describe it (mig_models)"
    seen: set[int] = set()
    for one in mig.fixed:
        if not 0 <= one.gpu < gpus:
            return f"GPU {one.gpu} is partitioned; the node has {gpus}"
        if one.gpu in seen:
            return f"GPU {one.gpu} is partitioned twice"
        seen.add(one.gpu)
        taken: set[object] = set()
        for text in one.instances:
            placed = placement(text, model)
            if placed is None:
                names = ", ".join(f"{known.name}@{known.starts}" for known in model.profiles)
                return f"GPU {one.gpu}: {text[:NAME_MAX]!r} is no profile@start; there are {names}"
            profile, start = placed
            cells: set[object] = {
                *range(start, start + profile.size),
                *([profile.only] if profile.only else []),
            }
            if cells & taken:
                return f"GPU {one.gpu}: {text} meets another instance"
            taken |= cells
    return ""


def placement(text: str, model: Model) -> tuple[Profile, int] | None:
    """Profile and start of `3g.40gb@4`, None if the model has no such placement."""
    name, _, start = text.partition("@")
    for one in model.profiles:
        if one.name == name and start.isascii() and start.isdecimal() and int(start) in one.starts:
            return one, int(start)
    return None
