# SPDX-License-Identifier: Apache-2.0
"""What each trouble of a node means: whether it drains the node at once. Read by the core, and by whoever tells people.

Xids are what NVIDIA's driver numbers errors by. The verdicts follow NVIDIA's catalogue of them (the immediate action of
"Analyzing Xid Errors with the Xid Catalog", docs.nvidia.com/deploy/xid-errors) and its "GPU Debug Guidelines": what
wants a reset of the GPU or the machine, or service, drains; what the GPU has dealt with already is told to people; what
a program of a tenant does to itself is only noted. A number that is not here is told to people, and drains nothing:
newer drivers add numbers for what is harmless, and nobody overlooks it.
"""

from typing import Final, NamedTuple

DRAIN: Final = "drain"  # the node takes nothing, what runs there goes on elsewhere
ALERT: Final = "alert"  # people are told
NOTE: Final = "note"  # it is in the journal

XID: Final = "xid"
OPERATOR: Final = "operator"
KINDS: Final = {
    XID: ALERT,  # the number says more
    "ecc_uncorrected": DRAIN,  # memory errors that could not be corrected
    "retired_pages": ALERT,  # pages or rows of memory wait for a reset to be taken out of use
    "remap_failed": DRAIN,  # and there are no spare ones left
    "nvlink": DRAIN,  # a link to another GPU is down or fails
    "gpu_lost": DRAIN,  # it fell off the bus, or does not answer
    "health_check": DRAIN,  # the site's own check of the node failed
    OPERATOR: DRAIN,  # somebody says so
}


class Xid(NamedTuple):
    """`says`: what it is, in a few words."""

    verdict: str
    says: str


XIDS: Final = {
    8: Xid(NOTE, "a program of a GPU stood still"),
    13: Xid(NOTE, "a program made the graphics engine fail"),
    31: Xid(NOTE, "a program read or wrote memory that is not there"),
    32: Xid(NOTE, "a program gave the GPU commands that are none"),
    37: Xid(NOTE, "a program gave the driver what it cannot use"),
    43: Xid(NOTE, "a program of a GPU was ended after an error of its own"),
    45: Xid(NOTE, "programs were ended after an earlier error"),
    46: Xid(DRAIN, "the GPU stopped processing"),
    48: Xid(DRAIN, "a memory error of two bits could not be corrected"),
    61: Xid(DRAIN, "the GPU's internal controller warned or stopped"),
    62: Xid(DRAIN, "the GPU's internal controller halted"),
    63: Xid(ALERT, "a page or row of memory is to be taken out of use at the next reset"),
    64: Xid(DRAIN, "a page or row of memory could not be taken out of use"),
    68: Xid(NOTE, "a video decoder failed"),
    69: Xid(NOTE, "a program used a class of the graphics engine wrongly"),
    74: Xid(DRAIN, "NVLink failed"),
    79: Xid(DRAIN, "the GPU fell off the bus"),
    92: Xid(ALERT, "many memory errors of one bit are corrected"),
    94: Xid(ALERT, "a memory error was contained: one program was ended"),
    95: Xid(DRAIN, "a memory error was not contained"),
    109: Xid(ALERT, "switching between programs took too long"),
    110: Xid(DRAIN, "the GPU has a fault of security"),
    119: Xid(DRAIN, "the GPU's system processor does not answer"),
    120: Xid(DRAIN, "the GPU's system processor failed"),
    121: Xid(ALERT, "an error of the link to the CPU was corrected"),
    136: Xid(DRAIN, "a link of the GPU could not be trained"),
    140: Xid(DRAIN, "a memory error could not be recovered from"),
    143: Xid(DRAIN, "the GPU could not be initialised"),
    155: Xid(ALERT, "an NVLink left its power state"),
}
XID_MAX: Final = 9_999


def verdict(kind: str, code: int) -> str:
    """What follows from a trouble: DRAIN, ALERT or NOTE. KeyError for an unknown kind."""
    if kind == XID and code in XIDS:
        return XIDS[code].verdict
    return KINDS[kind]
