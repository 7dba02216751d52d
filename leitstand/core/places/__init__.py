# SPDX-License-Identifier: Apache-2.0
"""Where and when: nodes, topology levels, and what is free on them over time."""
