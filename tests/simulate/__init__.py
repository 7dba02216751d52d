# SPDX-License-Identifier: Apache-2.0
"""Simulation testing: the real core and the real loop in virtual time, with faulty ports, all drawn from one seed.

    plan      what a seed is: fleet, tree, rules, requests, truths, faults; data that can be shrunk and told
    drawing   a seed → its plan
    machines  what engines really do          ports   journal, clock, links, clients: all of them fail as planned
    world     plays a plan                    tally   what the journal says, followed without the core
    checking  how checks are called           checks, shares, records    what has to be so
    bugs      defects that are planted in the product, each to be found by a check
    shrink    the smallest plan that still fails       story    a plan in words

`python -m tests.simulate` runs them; `make simulate SEEDS=1000`, `make simulate SEED=4711`.
"""
