# SPDX-License-Identifier: Apache-2.0
"""Why not now: the binding reason of a waiting job, and what would change it."""
