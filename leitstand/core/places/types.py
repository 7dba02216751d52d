# SPDX-License-Identifier: Apache-2.0
"""Which GPUs a job means that names a type, and which pool a node serves that names none. Called by the topology of a
pool and by the cycle.

People say `H100`, machines say `NVIDIA H100 80GB HBM3`. A name means all types that have every one of its words, upper
or lower case alike; `A100` means both sizes, `A100-80GB` one of them.
"""

from typing import Final

UNTYPED: Final = ("", "logical")  # at a site that only counts GPUs: they stand for any type


def means(asked: str, gpu_type: str) -> bool:
    """Whether a job that asks for `asked` can use GPUs of `gpu_type`."""
    return asked == gpu_type or (bool(found := words(asked)) and set(found) <= set(words(gpu_type)))


def pool_of(site: str, gpu_type: str, gpus: int) -> str:
    """The pool of the nodes of one GPU type at one site: `aachen-b200`; `aachen-gpu` where the type is not known,
    `aachen-cpu` for nodes without GPUs."""
    kind = "-".join(words(gpu_type)).lower() if gpus else "cpu"
    return f"{site}-{kind or 'gpu'}"


def words(name: str) -> list[str]:
    """The words of a type, upper case: what names of types are compared by."""
    return "".join(letter if letter.isalnum() else " " for letter in name.upper()).split()
